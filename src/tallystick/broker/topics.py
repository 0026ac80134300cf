"""Topics: which there are, and their partitions.

Owns: the topic records, names and ids; it is the ``PartitionWriter`` of the coordinators.
Must not know: the protocol's messages, folders.

Deciding and applying are apart: a change is written to the topics journal first and applied by the same function that
replays it at start.
"""

from __future__ import annotations

import re
import resource
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import structlog

from tallystick.broker.limits import (
    FILES_FOR_PARTITIONS,
    MAX_PARTITIONS,
    MAX_PARTITIONS_PER_TOPIC,
    MAX_TOPIC_NAME_LENGTH,
)
from tallystick.broker.log.boots import Boots
from tallystick.broker.log.durability import Durability
from tallystick.broker.log.journal import COMPACT_ABOVE_BYTES, FileJournal
from tallystick.broker.log.settings import DEFAULTS, LogSettings
from tallystick.broker.partition import Partition
from tallystick.broker.ports import JournalRecord, TopicShape
from tallystick.broker.topic_configs import (
    DEFINITIONS,
    BrokerDefault,
    Effective,
    check_overrides,
    definition_of,
    effective,
    resolve,
)
from tallystick.broker.topic_partitions import PartitionFolders, Topic
from tallystick.broker.topic_records import (
    TopicConfigured,
    TopicCreated,
    TopicDeleted,
    TopicGrown,
    TopicRecord,
    declared_topics,
)
from tallystick.broker.transactions.adoption import OpenTransaction
from tallystick.clock import Clock
from tallystick.wire.errors import ApiError, ErrorCode

logger = structlog.get_logger(__name__)

_LEGAL_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


class Topics:
    """All topics of the node. ``recover`` must run before anything else."""

    def __init__(
        self,
        folder: Path,
        journal: FileJournal[TopicRecord],
        durability: Durability,
        *,
        num_partitions: int,
        before_marker: FileJournal[JournalRecord] | None = None,
        settings: LogSettings = DEFAULTS,
        topic_defaults: Mapping[str, BrokerDefault] | None = None,
        boots: Boots | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.num_partitions = num_partitions
        self.topic_defaults: Mapping[str, BrokerDefault] = _defaults_in(settings) | dict(topic_defaults or {})
        self._folders = PartitionFolders(folder, durability, settings=settings, boots=boots, clock=clock)
        self._journal = journal
        self._durability = durability
        self._before_marker = before_marker
        self._settings = settings
        self._by_name: dict[str, Topic] = {}
        self._by_id: dict[uuid.UUID, Topic] = {}
        self.version = 0

    def recover(self) -> None:
        """Replay the journal, open every log, remove what deleted topics left behind."""
        declared = declared_topics(self._journal.replay())
        if self._journal.size_bytes > COMPACT_ABOVE_BYTES:
            self._journal.compact(declared.values())
        for record in declared.values():
            self._apply(record)
        self._folders.sweep({topic_id.hex for topic_id in declared})

    def _new(self, record: TopicCreated) -> Topic:
        return Topic(record.name, record.topic_id, record.configs, resolve(record.configs, self.topic_defaults))

    def _apply(self, record: TopicRecord, made: Topic | None = None) -> Topic:
        if not isinstance(record, TopicConfigured):
            self.version += 1
        match record:
            case TopicCreated():
                topic = made or self._new(record)
                self._by_name[topic.name] = self._by_id[topic.topic_id] = topic
                self._folders.open(topic, record.partition_count)
            case TopicGrown():
                topic = self._by_id[record.topic_id]
                self._folders.open(topic, record.partition_count)
            case TopicConfigured():
                topic = self._by_id[record.topic_id]
                topic.configs = record.configs
                self._configure_partitions(topic)
            case TopicDeleted():
                topic = self._by_id.pop(record.topic_id)
                del self._by_name[topic.name]
                self._folders.remove(topic)
        return topic

    def tick(self) -> None:
        """Keep small what a start would read."""
        self._folders.checkpoints.tick()

    def checkpoint(self) -> None:
        """Let the next start begin where every log ends now."""
        for topic in self._by_name.values():
            for partition in topic.partitions:
                partition.checkpoint()

    def _configure_partitions(self, topic: Topic) -> None:
        topic.config = resolve(topic.configs, self.topic_defaults)
        for partition in topic.partitions:
            partition.configure(topic.config)

    # Asking

    def all(self) -> Iterable[Topic]:
        return self._by_name.values()

    def by_name(self, name: str) -> Topic | None:
        return self._by_name.get(name)

    def by_id(self, topic_id: uuid.UUID | None) -> Topic | None:
        return None if topic_id is None else self._by_id.get(topic_id)

    def partition(self, name: str, index: int) -> Partition | None:
        topic = self._by_name.get(name)
        if topic is None or not 0 <= index < len(topic.partitions):
            return None
        return topic.partitions[index]

    def names(self) -> Iterable[str]:
        return self._by_name.keys()

    def shape(self, topic: str) -> TopicShape | None:
        found = self._by_name.get(topic)
        return None if found is None else TopicShape(topic, found.topic_id, len(found.partitions))

    def name_of(self, topic_id: uuid.UUID) -> str | None:
        found = self._by_id.get(topic_id)
        return None if found is None else found.name

    def exists(self, topic: str, partition: int) -> bool:
        return self.partition(topic, partition) is not None

    def topic_id(self, topic: str) -> uuid.UUID | None:
        found = self._by_name.get(topic)
        return found.topic_id if found else None

    def effective_configs(self, configs: Mapping[str, str]) -> dict[str, Effective]:
        """Every configuration of a topic that has these settings of its own, with its source."""
        return effective(configs, self.topic_defaults)

    def open_transactions(self) -> list[OpenTransaction]:
        """Every partition in which a transaction is open."""
        return [
            OpenTransaction(topic.name, partition.index, entry.producer_id, entry.producer_epoch)
            for topic in self._by_name.values()
            for partition in topic.partitions
            for entry in partition.producers.entries()
            if entry.transaction_first_offset is not None
        ]

    def highest_producer_id(self) -> int:
        """Of all producers that any partition knows; -1 if there are none."""
        every = (partition for topic in self._by_name.values() for partition in topic.partitions)
        return max((max(partition.producers.producers, default=-1) for partition in every), default=-1)

    # Changing

    def create(
        self, name: str, *, partition_count: int | None = None, configs: Mapping[str, str | None] | None = None
    ) -> Topic:
        """Make a topic. ``ApiError`` if the name is taken or illegal, the count out of bounds, or a setting wrong."""
        count = self.check_creation(name, partition_count)
        record = TopicCreated(name, uuid.uuid4(), count, self.check_configs(configs or {}))
        topic = self._new(record)
        with self._folders.made(topic, count):
            self._append(record)
        return self._apply(record, topic)

    def check_configs(self, configs: Mapping[str, str | None]) -> dict[str, str]:
        """The settings in their normal form; ``ApiError`` INVALID_CONFIG if a topic could not have them."""
        return check_overrides(configs, self.topic_defaults)

    def check_creation(self, name: str, partition_count: int | None) -> int:
        """The number of partitions that a topic of this name would get; ``ApiError`` if it cannot be made."""
        check_topic_name(name)
        if name in self._by_name:
            raise ApiError(ErrorCode.topic_already_exists, f"topic {name!r} exists already")
        count = self.num_partitions if partition_count is None else partition_count
        if not 1 <= count <= MAX_PARTITIONS_PER_TOPIC:
            raise ApiError(
                ErrorCode.invalid_partitions, f"{count} partitions; 1 to {MAX_PARTITIONS_PER_TOPIC} are allowed"
            )
        self._must_have_room(count)
        return count

    def _must_have_room(self, count: int) -> None:
        """``ApiError`` POLICY_VIOLATION if the node cannot open so many more partitions."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = int(files * FILES_FOR_PARTITIONS) if files != resource.RLIM_INFINITY else MAX_PARTITIONS
        if self._folders.count + count > most:
            raise ApiError(
                ErrorCode.policy_violation,
                f"{self._folders.count} partitions are there, and with {files} open files no more than {most} fit",
            )

    def grow(self, name: str, *, partition_count: int) -> Topic:
        """Give a topic more partitions. ``ApiError`` if there is no such topic or it has as many already."""
        topic = self.check_growth(name, partition_count)
        record = TopicGrown(topic.topic_id, partition_count)
        with self._folders.made(topic, partition_count):
            self._append(record)
        return self._apply(record)

    def check_growth(self, name: str, partition_count: int) -> Topic:
        """The topic, if it can be grown to this count; ``ApiError`` if not."""
        topic = self._by_name.get(name)
        if topic is None:
            raise ApiError(ErrorCode.unknown_topic_or_partition, f"there is no topic {name!r}")
        if not len(topic.partitions) < partition_count <= MAX_PARTITIONS_PER_TOPIC:
            raise ApiError(
                ErrorCode.invalid_partitions, f"topic {name!r} has {len(topic.partitions)} partitions, not fewer"
            )
        self._must_have_room(partition_count - len(topic.partitions))
        return topic

    def configure(self, name: str, changes: Mapping[str, str | None], *, validate_only: bool = False) -> Topic:
        """Change settings of a topic; None takes one back to the broker's default.

        ``ApiError`` INVALID_CONFIG if one is unknown (the nearest known name is told) or its value wrong; nothing is
        changed then, nor under ``validate_only``.
        """
        topic = self._by_name.get(name)
        if topic is None:
            raise ApiError(ErrorCode.unknown_topic_or_partition, f"there is no topic {name!r}")
        for change, value in changes.items():
            if value is not None:
                definition_of(change)
        kept = {key: value for key, value in (topic.configs | dict(changes)).items() if value is not None}
        # A setting that an older or newer version left in the journal is no reason to refuse another one's change.
        known = {key: value for key, value in kept.items() if key in DEFINITIONS}
        configs = {key: value for key, value in kept.items() if key not in DEFINITIONS} | self.check_configs(known)
        if not validate_only and configs != topic.configs:
            record = TopicConfigured(topic.topic_id, configs)
            self._append(record)
            self._apply(record)
        return topic

    def set_defaults(self, topic_defaults: Mapping[str, BrokerDefault]) -> None:
        """Change what holds for topics that say nothing themselves. The caller keeps it over a restart."""
        self.topic_defaults = _defaults_in(self._settings) | dict(topic_defaults)
        for topic in self._by_name.values():
            self._configure_partitions(topic)

    def delete(self, topic: Topic) -> None:
        """Delete a topic with its data."""
        record = TopicDeleted(topic.topic_id)
        # Under every policy: after power loss a topic is there with all of its segments, or it is gone, and then so are
        # the offsets that groups committed in it.
        if self._before_marker is not None:
            self._durability.sync_file_now(self._before_marker.path)
        self._append(record)
        self._durability.sync_file_now(self._journal.path)
        self._apply(record)

    def _append(self, record: TopicRecord) -> None:
        try:
            self._journal.append(record)
        except OSError as error:
            raise ApiError(ErrorCode.kafka_storage_error, f"the topics journal: {error.strerror}") from error

    def append_marker(
        self,
        topic: str,
        partition: int,
        *,
        producer_id: int,
        producer_epoch: int,
        commit: bool,
        coordinator_epoch: int,
        now_ms: int,
    ) -> None:
        """See ``ports.PartitionWriter``."""
        found = self.partition(topic, partition)
        if found is None:
            logger.warning("a marker for a partition that is gone", topic=topic, partition=partition)
            return
        if self._before_marker is not None:
            # A marker on disk without the coordinator's decision on disk would let power loss commit one partition
            # of a transaction and abort the next. So the decision is synced first, where the policy syncs at all.
            self._before_marker.sync_now()
        found.append_marker(
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            commit=commit,
            coordinator_epoch=coordinator_epoch,
            now_ms=now_ms,
        )

    def close(self) -> None:
        """Close every file."""
        for topic in self._by_name.values():
            for partition in topic.partitions:
                partition.close(deleted=False)
        self._journal.close()


def check_topic_name(name: str) -> None:
    """``ApiError`` INVALID_TOPIC_EXCEPTION if no topic can have this name."""
    if name in ("", ".", "..") or len(name) > MAX_TOPIC_NAME_LENGTH or not _LEGAL_NAME.fullmatch(name):
        raise ApiError(ErrorCode.invalid_topic_exception, f"{name!r} is no legal topic name")


def _defaults_in(settings: LogSettings) -> dict[str, BrokerDefault]:
    """What the log's settings say for topics, where it is not Kafka's default anyway."""
    given = {
        "segment.bytes": (settings.log_segment_bytes, DEFAULTS.log_segment_bytes),
        "index.interval.bytes": (settings.log_index_interval_bytes, DEFAULTS.log_index_interval_bytes),
    }
    return {name: BrokerDefault(str(value)) for name, (value, usual) in given.items() if value != usual}


__all__ = ["Topic", "Topics", "check_topic_name"]
