"""Counts of what a server does, as it does it.

Owns: the counts of requests, connections and syncs. Must not know: how they are shown. The one loop counts, so that
plain numbers do.
"""

from __future__ import annotations

import dataclasses
import typing
from collections import defaultdict
from functools import cache
from typing import Any, Final

from tallystick.histogram import Histogram
from tallystick.wire.errors import ErrorCode

_NONE: Final = ErrorCode.none


class ApiCounts:
    """Of one API. ``errors`` counts requests by the first error in their answers."""

    __slots__ = ("errors", "latency", "request_bytes", "requests", "response_bytes")

    def __init__(self) -> None:
        self.requests = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.latency = Histogram()
        self.errors: defaultdict[ErrorCode, int] = defaultdict(int)


class Meter:
    """All counts of one server."""

    def __init__(self) -> None:
        self.by_api: defaultdict[str, ApiCounts] = defaultdict(ApiCounts)
        self.syncs = Histogram()
        self.connections_accepted = 0
        self.connections_refused = 0

    def answered(self, api: str, response: Any, *, took_s: float, request_bytes: int, response_bytes: int) -> None:
        """One request was handled; ``response`` None: it is not answered."""
        counts = self.by_api[api]
        counts.requests += 1
        counts.request_bytes += request_bytes
        counts.response_bytes += response_bytes
        counts.latency.observe(took_s)
        if response is not None:
            error = first_error(response)
            if error is not _NONE:
                counts.errors[error] += 1


def first_error(response: Any) -> ErrorCode:
    """The first error code that a response has, at its top or in its rows; ``none`` if there is none."""
    entity: Any = type(response)
    for path in _paths(entity):
        found = _first(response, path, 0)
        if found is not _NONE:
            return found
    return _NONE


def _first(entity: Any, path: tuple[str, ...], depth: int) -> ErrorCode:
    value: Any = getattr(entity, path[depth])
    if depth + 1 == len(path):
        return value  # type: ignore[no-any-return]
    for row in value or ():
        found = _first(row, path, depth + 1)
        if found is not _NONE:
            return found
    return _NONE


@cache
def _paths(entity: Any) -> tuple[tuple[str, ...], ...]:
    """Where error codes stand in a response of this class, from the top down; computed once for each class."""
    found: list[tuple[str, ...]] = []
    for item in dataclasses.fields(entity):
        if item.metadata.get("kafka_type") == "error_code":
            found.append((item.name,))
        else:
            row = _row_class(entity, item.name)
            found += [(item.name, *path) for path in _paths(row)] if row is not None else []
    return tuple(sorted(found, key=len))


@cache
def _row_class(entity: Any, name: str) -> Any | None:
    """The class of the rows of a field that is a list of structures; None of any other field."""
    hint = typing.get_type_hints(entity)[name]
    for part in (hint, *typing.get_args(hint)):
        if typing.get_origin(part) is tuple:
            row = typing.get_args(part)[0]
            return row if dataclasses.is_dataclass(row) else None
    return None
