"""Which requests a fault is for.

Owns: the conditions, and how one compares. Must not know: where a request keeps its topics and ids (``subject``).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

import msgspec
from kio.schema.index import api_key_map

from tallystick.broker.faults.subject import Subject
from tallystick.errors import ConfigurationError

API_NAMES = frozenset(api_key_map.values())


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every condition that is given must hold; without any, every request matches.

    ``api`` is a name from the table in docs/broker.md, as in ``end_txn``. ``topic`` and ``partition`` hold if the
    request names such a partition among others; with ``partition`` alone, of any topic. The texts may have the
    wildcards ``*``, ``?`` and ``[...]``.
    """

    api: str | None = None
    client_id: str | None = None
    topic: str | None = None
    partition: int | None = None
    transactional_id: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        if self.api is not None and self.api not in API_NAMES:
            near = get_close_matches(self.api.lower(), API_NAMES, n=1)
            remedy = f"Did you mean {near[0]!r}?" if near else None
            raise ConfigurationError(f"there is no API {self.api!r}", remedy=remedy)

    def may_hold(self, api: str, client_id: str | None) -> bool:
        """Whether API and client are right, for which the request need not be looked into."""
        return (self.api is None or self.api == api) and _is(self.client_id, client_id)

    def holds(self, subject: Subject) -> bool:
        """Whether this fault is for that request."""
        return (
            self.may_hold(subject.api, subject.client_id)
            and _any(self.transactional_id, subject.transactional_ids)
            and _any(self.group, subject.groups)
            and self._names_a_partition(subject)
        )

    def _names_a_partition(self, subject: Subject) -> bool:
        if self.partition is None:
            return _any(self.topic, subject.topics)
        return any(
            index == self.partition and (self.topic is None or _is(self.topic, topic))
            for topic, index in subject.partitions
        )

    def __str__(self) -> str:
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        return " ".join(f"{name}={value}" for name, value in given.items() if value is not None) or "every request"


def _is(pattern: str | None, value: str | None) -> bool:
    return pattern is None or (value is not None and (value == pattern or fnmatchcase(value, pattern)))


def _any(pattern: str | None, values: Iterable[str]) -> bool:
    return pattern is None or any(_is(pattern, value) for value in values)
