"""Topics: listed, described with their ends, made, grown, deleted.

Owns: what a controller is asked about topics. Must not know: how it is shown.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tallystick.operate.cluster import Cluster, Topic, TopicPartition, check
from tallystick.operate.connection import Connection, Versions
from tallystick.operate.offsets import EARLIEST, LATEST, list_offsets

CREATE_TOPICS: Final = Versions("create_topics", 7, 7)
DELETE_TOPICS: Final = Versions("delete_topics", 6, 6)
CREATE_PARTITIONS: Final = Versions("create_partitions", 2, 3)
DESCRIBE_CONFIGS: Final = Versions("describe_configs", 4, 4)
INCREMENTAL_ALTER_CONFIGS: Final = Versions("incremental_alter_configs", 1, 1)

_TIMEOUT: Final = datetime.timedelta(seconds=30)
_TOPIC_RESOURCE: Final = 2
_BROKER_RESOURCE: Final = 4
_SET: Final = 0
_DELETE: Final = 1
_OF_THIS_TOPIC: Final = 1
"""The config source of a value that was set for the topic itself."""


@dataclass(frozen=True, slots=True)
class PartitionEnds:
    """The first offset, the last stable offset and the high watermark of a partition."""

    place: TopicPartition
    log_start_offset: int
    last_stable_offset: int
    high_watermark: int


def partition_ends(cluster: Cluster, topic: Topic) -> list[PartitionEnds]:
    """Of every partition of a topic."""
    places = topic.partitions
    first = list_offsets(cluster, dict.fromkeys(places, EARLIEST), stable=False)
    stable = list_offsets(cluster, dict.fromkeys(places, LATEST), stable=True)
    ends = list_offsets(cluster, dict.fromkeys(places, LATEST), stable=False)
    return [PartitionEnds(place, first[place], stable[place], ends[place]) for place in places]


def topic_settings(cluster: Cluster, name: str) -> dict[str, str]:
    """The configurations that were set for this topic; defaults are left out."""

    def ask() -> dict[str, str]:
        found = _settings(cluster.any_broker(), _TOPIC_RESOURCE, name, what=f"topic {name!r}")
        return {setting: value for setting, (value, source) in found.items() if source == _OF_THIS_TOPIC}

    return cluster.settled(ask)


def broker_settings(cluster: Cluster) -> dict[str, str]:
    """All configurations of one broker, with their defaults; secrets are empty."""

    def ask() -> dict[str, str]:
        node_id, connection = cluster.first_node()
        found = _settings(connection, _BROKER_RESOURCE, str(node_id), what=f"broker {node_id}")
        return {setting: value for setting, (value, _) in found.items()}

    return cluster.settled(ask)


def _settings(connection: Connection, kind: int, name: str, *, what: str) -> dict[str, tuple[str, int]]:
    resource = connection.part(
        DESCRIBE_CONFIGS,
        "DescribeConfigsResource",
        resource_type=kind,
        resource_name=name,
        configuration_keys=None,
    )
    (row,) = connection.ask(
        DESCRIBE_CONFIGS, resources=(resource,), include_synonyms=False, include_documentation=False
    ).results
    check(row.error_code, f"the settings of {what}", row.error_message)
    return {part.name: (part.value or "", int(part.config_source)) for part in row.configs}


def set_topic_settings(cluster: Cluster, name: str, settings: Mapping[str, str], *, remove: Iterable[str] = ()) -> None:
    """Set these for the topic; those in ``remove`` that are not among them go back to the broker's default."""
    changes: list[tuple[str, int, str | None]] = [(key, _SET, value) for key, value in settings.items()]
    changes += [(key, _DELETE, None) for key in remove if key not in settings]
    if not changes:
        return

    def ask() -> None:
        connection = cluster.any_broker()
        configs = tuple(
            connection.part(
                INCREMENTAL_ALTER_CONFIGS, "AlterableConfig", name=key, config_operation=operation, value=value
            )
            for key, operation, value in changes
        )
        resource = connection.part(
            INCREMENTAL_ALTER_CONFIGS,
            "AlterConfigsResource",
            resource_type=_TOPIC_RESOURCE,
            resource_name=name,
            configs=configs,
        )
        (row,) = connection.ask(INCREMENTAL_ALTER_CONFIGS, resources=(resource,), validate_only=False).responses
        check(row.error_code, f"setting topic {name!r}", row.error_message)

    cluster.settled(ask)


def create_topic(
    cluster: Cluster, name: str, *, partitions: int, replication_factor: int, settings: Mapping[str, str]
) -> uuid.UUID | None:
    """The id of the new topic. -1 for partitions or replication asks for the broker's default."""

    def ask() -> uuid.UUID | None:
        connection = cluster.any_broker()
        configs = tuple(
            connection.part(CREATE_TOPICS, "CreatableTopicConfig", name=key, value=value)
            for key, value in settings.items()
        )
        topic = connection.part(
            CREATE_TOPICS,
            "CreatableTopic",
            name=name,
            num_partitions=partitions,
            replication_factor=replication_factor,
            assignments=(),
            configs=configs,
        )
        (row,) = connection.ask(CREATE_TOPICS, topics=(topic,), timeout=_TIMEOUT, validate_only=False).topics
        check(row.error_code, f"making topic {name!r}", row.error_message)
        made: uuid.UUID | None = row.topic_id
        return made

    return cluster.settled(ask)


def delete_topic(cluster: Cluster, name: str) -> None:
    """With all its records."""

    def ask() -> None:
        connection = cluster.any_broker()
        topic = connection.part(DELETE_TOPICS, "DeleteTopicState", name=name, topic_id=None)
        (row,) = connection.ask(DELETE_TOPICS, topics=(topic,), timeout=_TIMEOUT).responses
        check(row.error_code, f"deleting topic {name!r}", row.error_message)

    cluster.settled(ask)


def grow_topic(cluster: Cluster, name: str, *, partitions: int) -> None:
    """To this number of partitions in all. Keys move to other partitions: order per key ends there."""

    def ask() -> None:
        connection = cluster.any_broker()
        topic = connection.part(
            CREATE_PARTITIONS, "CreatePartitionsTopic", name=name, count=partitions, assignments=None
        )
        (row,) = connection.ask(CREATE_PARTITIONS, topics=(topic,), timeout=_TIMEOUT, validate_only=False).results
        check(row.error_code, f"growing topic {name!r}", row.error_message)

    cluster.settled(ask)
