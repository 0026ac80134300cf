"""The response that refuses a request: of its API and version, with one error code in every place that has one.

Owns: which rows of a response stand for which rows of its request, and what the other fields hold when nothing was
done. Must not know: why a request is refused.

The table names the APIs whose responses carry errors row by row; every other response has one at its top.
"""

from __future__ import annotations

import dataclasses
import datetime
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from kio.index import load_response_schema
from kio.schema.index import api_key_map
from kio.static.constants import EntityType

from tallystick.wire.errors import ErrorCode

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_NEUTRAL: Final[dict[str, Any]] = {
    "bool": False,
    "float64": 0.0,
    "string": "",
    "bytes": b"",
    "records": b"",
    "timedelta_i32": datetime.timedelta(0),
    "timedelta_i64": datetime.timedelta(0),
    "datetime_i64": _EPOCH,
}
_MINUS_ONE: Final = frozenset(
    {
        *("base_offset", "high_watermark", "low_watermark", "committed_offset", "producer_epoch"),
        *("node_id", "port", "controller_id", "leader_id"),
    }
)
"""Numbers that are -1 when they mean nothing, and that the schema gives no default."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """Rows of a response that answer rows of the request, one for one.

    ``sources`` are the request's fields, in order; an absent one has no rows. ``names`` maps a field of the response's
    row to that of the request's, where they differ; ``item`` is the field that a row becomes which is a bare value.
    ``inner`` has the rows within a row.
    """

    sources: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    item: str = ""
    inner: Mapping[str, Mirror] = field(default_factory=dict)


def _of(*sources: str, item: str = "", names: Mapping[str, str] | None = None, **inner: Mirror) -> Mirror:
    return Mirror(sources, names or {}, item, inner)


_PARTITIONS: Final = _of("partitions")
_INDEXES: Final = _of("partition_indexes", item="partition_index")

MIRRORS: Final[dict[str, dict[str, Mirror]]] = {
    "produce": {"responses": _of("topic_data", partition_responses=_of("partition_data"))},
    "fetch": {
        "responses": _of("topics", partitions=_of("partitions", names={"partition_index": "partition"})),
    },
    "list_offsets": {"topics": _of("topics", partitions=_PARTITIONS)},
    "metadata": {"topics": _of("topics")},
    "offset_commit": {"topics": _of("topics", partitions=_PARTITIONS)},
    "offset_fetch": {
        "groups": _of("groups", topics=_of("topics", partitions=_INDEXES)),
        "topics": _of("topics", partitions=_INDEXES),
    },
    "find_coordinator": {"coordinators": _of("coordinator_keys", item="key")},
    "describe_groups": {"groups": _of("groups", item="group_id")},
    "create_topics": {"topics": _of("topics")},
    "delete_topics": {"responses": _of("topics", "topic_names", item="name")},
    "delete_records": {"topics": _of("topics", partitions=_PARTITIONS)},
    "offset_for_leader_epoch": {"topics": _of("topics", partitions=_PARTITIONS)},
    "add_partitions_to_txn": {
        "results_by_topic_v3_and_below": _of(
            "v3_and_below_topics", results_by_partition=_of("partitions", item="partition_index")
        )
    },
    "write_txn_markers": {
        "markers": _of("markers", topics=_of("topics", partitions=_INDEXES)),
    },
    "txn_offset_commit": {"topics": _of("topics", partitions=_PARTITIONS)},
    "create_acls": {"results": _of("creations")},
    "delete_acls": {"filter_results": _of("filters")},
    "describe_configs": {"results": _of("resources")},
    "alter_configs": {"responses": _of("resources")},
    "incremental_alter_configs": {"responses": _of("resources")},
    "create_partitions": {"results": _of("topics")},
    "delete_groups": {"results": _of("groups_names", item="group_id")},
    "elect_leaders": {
        "replica_election_results": _of("topic_partitions", partition_result=_of("partitions", item="partition_id"))
    },
    "offset_delete": {"topics": _of("topics", partitions=_PARTITIONS)},
    "alter_client_quotas": {"entries": _of("entries", entity=_of("entity"))},
    "alter_user_scram_credentials": {"results": _of("deletions", "upsertions", names={"user": "name"})},
    "describe_producers": {"topics": _of("topics", partitions=_INDEXES)},
    "describe_transactions": {"transaction_states": _of("transactional_ids", item="transactional_id")},
    "consumer_group_describe": {"groups": _of("group_ids", item="group_id")},
    "describe_topic_partitions": {"topics": _of("topics")},
    "update_features": {"results": _of("feature_updates")},
    "alter_partition_reassignments": {"responses": _of("topics", partitions=_PARTITIONS)},
    "share_group_describe": {"groups": _of("group_ids", item="group_id")},
    "describe_share_group_offsets": {"groups": _of("groups")},
}


def name_of(api_key: int) -> str:
    """kio's name of an API key; ``KeyError`` if it knows none."""
    return api_key_map[api_key]


def refusal(request: Any, code: ErrorCode, message: str | None = None) -> Any:
    """The response to the request that says this code, and that nothing was done."""
    response_type = load_response_schema(request.__api_key__, request.__version__)
    mirrors = MIRRORS.get(name_of(request.__api_key__), {})
    return _built(response_type, request, mirrors, code, message)


def refused_rows(request: Any, into: str, rows: Iterable[Any], code: ErrorCode, message: str | None = None) -> Any:
    """Rows of the response's field ``into`` that refuse rows of the request. ``a.b`` is ``b`` in a row of ``a``."""
    mirrors: Mapping[str, Mirror] = MIRRORS[name_of(request.__api_key__)]
    row_type: Any = load_response_schema(request.__api_key__, request.__version__)
    for name in into.split("."):
        mirror = mirrors[name]
        _, row_type, _ = _shape(row_type)[name]
        mirrors = mirror.inner
    return tuple(_row(row_type, row, mirror, code, message) for row in rows)


def _row(row_type: Any, row: Any, mirror: Mirror, code: ErrorCode, message: str | None) -> Any:
    if mirror.item and not dataclasses.is_dataclass(row):
        return _built(row_type, None, {}, code, message, given={mirror.item: row})
    given = {into: getattr(row, source) for into, source in mirror.names.items() if hasattr(row, source)}
    return _built(row_type, row, mirror.inner, code, message, given=given)


def _built(
    entity: Any,
    like: Any,
    mirrors: Mapping[str, Mirror],
    code: ErrorCode,
    message: str | None,
    *,
    given: Mapping[str, Any] | None = None,
) -> Any:
    """An entity whose error fields say the code, whose other fields are those of ``like`` or mean nothing."""
    values: dict[str, Any] = {}
    shape = _shape(entity)
    for name, (kafka_type, row_type, neutral) in shape.items():
        if kafka_type == "error_code":
            values[name] = code
        elif name == "error_message":
            values[name] = message
        elif given and name in given:
            values[name] = given[name]
        elif name in mirrors:
            mirror = mirrors[name]
            rows = [row for source in mirror.sources for row in getattr(like, source, None) or ()]
            values[name] = _distinct(_row(row_type, row, mirror, code, message) for row in rows)
        elif row_type is None and _is_the_same(entity, like, name):
            value = getattr(like, name)
            values[name] = neutral if value is None else value
        else:
            values[name] = _built(row_type, None, {}, ErrorCode.none, None) if neutral is _NESTED else neutral
    return entity(**values)


def _distinct(rows: Iterable[Any]) -> tuple[Any, ...]:
    """A user that is named under deletions and under upsertions is one row."""
    return tuple(dict.fromkeys(rows))


def _is_the_same(entity: Any, like: Any, name: str) -> bool:
    """Only what names a row is taken over from the request's row: see ``_NAMES``."""
    return name in _NAMES and entity.__type__ is not EntityType.response and hasattr(like, name)


_NAMES: Final = frozenset(
    {
        *("name", "topic", "topic_id", "topic_name", "partition", "partition_index", "index", "partition_id"),
        *("group_id", "transactional_id", "producer_id", "resource_type", "resource_name", "feature"),
        *("entity_type", "entity_name"),
    }
)

_NESTED: Final = object()


@cache
def _shape(entity: Any) -> dict[str, tuple[str, Any, Any]]:
    """By field: its type in Kafka's words, the class of what it holds if that is a structure, its neutral value."""
    hints = typing.get_type_hints(entity)
    shape = {}
    for item in dataclasses.fields(entity):
        hint = hints[item.name]
        kafka_type = str(item.metadata.get("kafka_type", ""))
        row_type = next((part for part in _parts(hint) if dataclasses.is_dataclass(part)), None)
        shape[item.name] = (kafka_type, row_type, _neutral(item, hint, kafka_type, row_type))
    return shape


def _parts(hint: Any) -> Iterable[Any]:
    yield hint
    for part in typing.get_args(hint):
        yield from _parts(part)


def _is_list(hint: Any) -> bool:
    return any(typing.get_origin(part) is tuple for part in (hint, *typing.get_args(hint)))


def _neutral(item: Any, hint: Any, kafka_type: str, row_type: Any) -> Any:
    if item.default is not dataclasses.MISSING:
        return item.default
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    if _is_list(hint):
        return ()
    if kafka_type == "records":  # empty, not absent: some clients look into them
        return b""
    if types.NoneType in typing.get_args(hint):
        return None
    if row_type is not None:
        return _NESTED
    return _NEUTRAL.get(kafka_type, -1 if item.name in _MINUS_ONE else 0)
