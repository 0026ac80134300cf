"""Rewrites the broker addresses in answers, so that a client stays behind the proxy.

Owns: which answers carry addresses (Metadata, FindCoordinator, DescribeCluster). Must not know: sockets.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, Final

from kio.serial import entity_reader, entity_writer

from tallystick.verify.frames import DESCRIBE_CLUSTER, FIND_COORDINATOR, METADATA

Translate = Callable[[str, int], tuple[str, int]]
"""From a broker's host and port to the host and port that the client shall use instead."""

_MODULES: Final = {METADATA: "metadata", FIND_COORDINATOR: "find_coordinator", DESCRIBE_CLUSTER: "describe_cluster"}
ADDRESS_BEARING: Final = frozenset(_MODULES)


def rewrite(api_key: int, api_version: int, response: bytes, translate: Translate) -> bytes:
    """The response with every broker address translated; all else is as it was.

    Raises ``KeyError`` for an API that carries no address and ``ModuleNotFoundError`` for an unknown version.
    """
    header_type, body_type = _types(api_key, api_version)
    header, offset = entity_reader(header_type)(response, 0)
    body, _ = entity_reader(body_type)(response, offset)
    buffer = io.BytesIO()
    entity_writer(header_type)(buffer, header)
    entity_writer(body_type)(buffer, _translated(body, translate))
    return buffer.getvalue()


@cache
def _types(api_key: int, api_version: int) -> tuple[Any, Any]:
    module = importlib.import_module(f"kio.schema.{_MODULES[api_key]}.v{api_version}.response")
    (body_type,) = (
        candidate
        for name, candidate in vars(module).items()
        if name.endswith("Response") and getattr(candidate, "__api_key__", None) == api_key
    )
    return body_type.__header_schema__, body_type


def _translated(body: Any, translate: Translate) -> Any:
    for field in ("brokers", "coordinators"):
        if hasattr(body, field):
            return replace(body, **{field: tuple(_moved(node, translate) for node in getattr(body, field))})
    return _moved(body, translate)  # FindCoordinator up to version 3 carries one address itself


def _moved(node: Any, translate: Translate) -> Any:
    if node.port <= 0:  # "no coordinator known" is an empty host and port -1
        return node
    host, port = translate(node.host, node.port)
    return replace(node, host=host, port=type(node.port)(port))
