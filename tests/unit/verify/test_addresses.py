"""Answers keep everything but the addresses, in every version that the client may choose."""

from __future__ import annotations

import importlib
import io
from typing import Any

import pytest
from kio.serial import entity_reader, entity_writer

from tallystick.verify.addresses import rewrite
from tallystick.verify.frames import DESCRIBE_CLUSTER, FIND_COORDINATOR, METADATA

BROKER = ("broker.example", 9092)
PROXY = ("127.0.0.1", 40_000)


def translate(host: str, port: int) -> tuple[str, int]:
    assert (host, port) == BROKER
    return PROXY


def module_of(name: str, version: int) -> Any:
    return importlib.import_module(f"kio.schema.{name}.v{version}.response")


def encode(body: Any, correlation_id: int = 7) -> bytes:
    header_type = body.__header_schema__
    buffer = io.BytesIO()
    entity_writer(header_type)(buffer, header_type(correlation_id=correlation_id))
    entity_writer(type(body))(buffer, body)
    return buffer.getvalue()


def decode(raw: bytes, body_type: Any) -> Any:
    header, offset = entity_reader(body_type.__header_schema__)(raw, 0)
    assert header.correlation_id == 7
    body, size = entity_reader(body_type)(raw, offset)
    assert offset + size == len(raw)
    return body


def fill(entity_type: Any, **values: Any) -> Any:
    """An entity of any version: only the fields that this version has are given."""
    names = set(entity_type.__dataclass_fields__)
    return entity_type(**{name: value for name, value in values.items() if name in names})


@pytest.mark.parametrize("version", range(14))
def test_metadata_of_every_version_is_translated(version: int) -> None:
    module = module_of("metadata", version)
    broker = module.MetadataResponseBroker(node_id=1, host=BROKER[0], port=BROKER[1])
    throttle = {} if version < 3 else {"throttle_time": module.i32Timedelta.parse(_zero())}
    error = {} if version < 13 else {"error_code": module.ErrorCode(0)}
    body = module.MetadataResponse(brokers=(broker,), topics=(), **throttle, **error)
    raw = rewrite(METADATA, version, encode(body), translate)
    (moved,) = decode(raw, module.MetadataResponse).brokers
    assert (moved.node_id, moved.host, moved.port) == (1, *PROXY)


@pytest.mark.parametrize("version", range(7))
def test_find_coordinator_of_every_version_is_translated(version: int) -> None:
    module = module_of("find_coordinator", version)
    throttle = {} if version < 1 else {"throttle_time": module.i32Timedelta.parse(_zero())}
    error: Any = module.ErrorCode(0)
    if version < 4:
        values: dict[str, Any] = {"node_id": 1, "host": BROKER[0], "port": BROKER[1], "error_code": error}
        body = fill(module.FindCoordinatorResponse, **values, error_message=None, **throttle)
    else:
        coordinator = module.Coordinator(
            key="k", node_id=1, host=BROKER[0], port=BROKER[1], error_code=error, error_message=None
        )
        body = module.FindCoordinatorResponse(coordinators=(coordinator,), **throttle)
    found = decode(rewrite(FIND_COORDINATOR, version, encode(body), translate), module.FindCoordinatorResponse)
    node = found if version < 4 else found.coordinators[0]
    assert (node.host, node.port) == PROXY


def test_an_unknown_coordinator_stays_unknown() -> None:
    module = module_of("find_coordinator", 4)
    coordinator = module.Coordinator(
        key="k", node_id=-1, host="", port=-1, error_code=module.ErrorCode(15), error_message=None
    )
    body = module.FindCoordinatorResponse(throttle_time=module.i32Timedelta.parse(_zero()), coordinators=(coordinator,))
    assert rewrite(FIND_COORDINATOR, 4, encode(body), translate) == encode(body)


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(ModuleNotFoundError):
        rewrite(DESCRIBE_CLUSTER, 999, b"", translate)


def _zero() -> Any:
    import datetime

    return datetime.timedelta()
