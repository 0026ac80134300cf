"""What a request is about: its topics and partitions, its transactional ids, its groups.

Owns: under which field names Kafka's requests keep them, for all APIs at once. Must not know: faults, sockets; what the
broker does with the request.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

NameOfTopic = Callable[[uuid.UUID], str | None]

_TOPIC_ROWS: Final = (
    "topics",
    "topic_data",
    "topic_partitions",
    "topic_names",
    "v3_and_below_topics",
    "subscribed_topic_names",
)
_TOPIC_NAMES: Final = ("name", "topic", "topic_name")
_PARTITION_ROWS: Final = ("partitions", "partition_data", "partition_indexes")
_PARTITION_NUMBERS: Final = ("partition_index", "partition", "index")
_TRANSACTIONAL_IDS: Final = ("transactional_id", "v3_and_below_transactional_id", "transactional_ids")
_GROUPS: Final = ("group_id", "group_ids", "groups_names")
_NESTED: Final = ("transactions", "groups", "markers")
_RESOURCE_TYPE_TOPIC: Final = 2
_KEY_TYPE_GROUP: Final = 0
_KEY_TYPE_TRANSACTION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One request, as far as faults are chosen by it."""

    api: str
    client_id: str | None
    topics: frozenset[str] = frozenset()
    partitions: frozenset[tuple[str, int]] = frozenset()
    transactional_ids: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()


def subject_of(request: Any, *, api: str, client_id: str | None, name_of_topic: NameOfTopic) -> Subject:
    """Read the request; a topic that it names by an id that is not known is left out."""
    entities = [request, *_nested(request)]
    topics: set[str] = set()
    partitions: set[tuple[str, int]] = set()
    for entity in entities:
        for name, row in _topics(entity, name_of_topic):
            topics.add(name)
            partitions.update((name, index) for index in _partitions(row))
    keys = {key for key in (getattr(request, "key", None), *(getattr(request, "coordinator_keys", None) or ())) if key}
    key_type = getattr(request, "key_type", _KEY_TYPE_GROUP)
    transactional_ids = set(_texts(entities, _TRANSACTIONAL_IDS))
    groups = set(_texts(entities, _GROUPS)) | {group for group in _rows(request, "groups") if isinstance(group, str)}
    return Subject(
        api=api,
        client_id=client_id,
        topics=frozenset(topics),
        partitions=frozenset(partitions),
        transactional_ids=frozenset(transactional_ids | (keys if key_type == _KEY_TYPE_TRANSACTION else set())),
        groups=frozenset(groups | (keys if key_type == _KEY_TYPE_GROUP else set())),
    )


def _rows(entity: Any, name: str) -> Iterable[Any]:
    return getattr(entity, name, None) or ()


def _nested(request: Any) -> Iterator[Any]:
    for name in _NESTED:
        yield from (row for row in _rows(request, name) if not isinstance(row, str))


def _texts(entities: Iterable[Any], names: Iterable[str]) -> Iterator[str]:
    for entity in entities:
        for name in names:
            value = getattr(entity, name, None) or ()
            yield from (value,) if isinstance(value, str) else value


def _topics(entity: Any, name_of_topic: NameOfTopic) -> Iterator[tuple[str, Any]]:
    for field in _TOPIC_ROWS:
        for row in _rows(entity, field):
            name = row if isinstance(row, str) else _name(row, name_of_topic)
            if name is not None:
                yield name, row
    for resource in _rows(entity, "resources"):
        if resource.resource_type == _RESOURCE_TYPE_TOPIC:
            yield resource.resource_name, resource


def _name(row: Any, name_of_topic: NameOfTopic) -> str | None:
    for field in _TOPIC_NAMES:
        name = getattr(row, field, None)
        if isinstance(name, str):
            return name
    topic_id = getattr(row, "topic_id", None)
    return None if topic_id is None else name_of_topic(topic_id)


def _partitions(row: Any) -> Iterator[int]:
    for field in _PARTITION_ROWS:
        for partition in _rows(row, field):
            if isinstance(partition, int):
                yield partition
            else:
                yield next(getattr(partition, name) for name in _PARTITION_NUMBERS if hasattr(partition, name))
