"""Topics: which there are, and their partitions.

Owns: the topic records, names and ids, the folders of partitions; it is the ``PartitionWriter`` of the coordinators.
Must not know: the protocol's messages.

Deciding and applying are apart: a change is written to the topics journal first and applied by the same function that
replays it at start.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from tallystick.broker.limits import MAX_PARTITIONS_PER_TOPIC, MAX_TOPIC_NAME_LENGTH
from tallystick.broker.log.boots import Boots
from tallystick.broker.log.checkpoints import Checkpoints
from tallystick.broker.log.durability import Durability, sync_folder
from tallystick.broker.log.journal import FileJournal
from tallystick.broker.log.settings import DEFAULTS, LogSettings
from tallystick.broker.partition import Partition
from tallystick.broker.ports import JournalRecord
from tallystick.wire.errors import ApiError, ErrorCode

logger = structlog.get_logger(__name__)

_LEGAL_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


class TopicCreated(JournalRecord, frozen=True, tag="topic-created"):
    """A topic exists from here on."""

    name: str
    topic_id: uuid.UUID
    partition_count: int
    configs: dict[str, str]


class TopicGrown(JournalRecord, frozen=True, tag="topic-grown"):
    """A topic has this many partitions from here on."""

    topic_id: uuid.UUID
    partition_count: int


class TopicDeleted(JournalRecord, frozen=True, tag="topic-deleted"):
    """A topic is gone from here on; its id never comes back."""

    topic_id: uuid.UUID


TopicRecord = TopicCreated | TopicGrown | TopicDeleted


@dataclass(slots=True)
class Topic:
    """A topic and its open partitions, by index."""

    name: str
    topic_id: uuid.UUID
    configs: dict[str, str]
    partitions: list[Partition] = field(default_factory=list)


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
        boots: Boots | None = None,
    ) -> None:
        self.num_partitions = num_partitions
        self._folder = folder
        self._journal = journal
        self._durability = durability
        self._before_marker = before_marker
        self._settings = settings
        self._boots = boots
        self._checkpoints = Checkpoints()
        self._by_name: dict[str, Topic] = {}
        self._by_id: dict[uuid.UUID, Topic] = {}
        self._recovering = False

    def recover(self) -> None:
        """Replay the journal, open every log, remove what deleted topics left behind."""
        declared: dict[uuid.UUID, TopicCreated] = {}
        for record in self._journal.replay():
            match record:
                case TopicCreated():
                    declared[record.topic_id] = record
                case TopicGrown():
                    made = declared[record.topic_id]
                    declared[record.topic_id] = TopicCreated(
                        made.name, made.topic_id, record.partition_count, made.configs
                    )
                case TopicDeleted():
                    del declared[record.topic_id]
        for record in declared.values():
            self._apply(record)
        for folder in self._folder.iterdir():
            if folder.name not in {topic_id.hex for topic_id in declared}:
                logger.info("removing the folder of a deleted topic", folder=folder.name)
                shutil.rmtree(folder)

    def _apply(self, record: TopicRecord) -> Topic:
        match record:
            case TopicCreated():
                topic = Topic(record.name, record.topic_id, record.configs)
                self._by_name[topic.name] = self._by_id[topic.topic_id] = topic
                self._open_partitions(topic, record.partition_count)
            case TopicGrown():
                topic = self._by_id[record.topic_id]
                self._open_partitions(topic, record.partition_count)
            case TopicDeleted():
                topic = self._by_id.pop(record.topic_id)
                del self._by_name[topic.name]
                for partition in topic.partitions:
                    partition.close(deleted=True)
                shutil.rmtree(self._folder / topic.topic_id.hex, ignore_errors=True)
        return topic

    def _open_partitions(self, topic: Topic, count: int) -> None:
        parent = self._folder / topic.topic_id.hex
        for index in range(len(topic.partitions), count):
            folder = parent / str(index)
            topic.partitions.append(Partition(topic.name, index, folder, self._durability, settings=self._settings))
            if self._durability.syncs:
                sync_folder(folder)
        if self._durability.syncs:
            sync_folder(parent)
            sync_folder(self._folder)

    def tick(self) -> None:
        """Keep small what a start would read."""
        self._checkpoints.tick()

    def checkpoint(self) -> None:
        """Let the next start begin where every log ends now."""
        for topic in self._by_name.values():
            for partition in topic.partitions:
                partition.checkpoint()

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

    def exists(self, topic: str, partition: int) -> bool:
        return self.partition(topic, partition) is not None

    def topic_id(self, topic: str) -> uuid.UUID | None:
        found = self._by_name.get(topic)
        return found.topic_id if found else None

    # Changing

    def create(self, name: str, *, partition_count: int | None = None, configs: dict[str, str] | None = None) -> Topic:
        """Make a topic. ``ApiError`` if the name is taken or illegal, or the count out of bounds."""
        count = self.check_creation(name, partition_count)
        record = TopicCreated(name, uuid.uuid4(), count, configs or {})
        self._append(record)
        return self._apply(record)

    def check_creation(self, name: str, partition_count: int | None) -> int:
        """The number of partitions that a topic of this name would get; ``ApiError`` if it cannot be made."""
        if name in ("", ".", "..") or len(name) > MAX_TOPIC_NAME_LENGTH or not _LEGAL_NAME.fullmatch(name):
            raise ApiError(ErrorCode.invalid_topic_exception, f"{name!r} is no legal topic name")
        if name in self._by_name:
            raise ApiError(ErrorCode.topic_already_exists, f"topic {name!r} exists already")
        count = self.num_partitions if partition_count is None else partition_count
        if not 1 <= count <= MAX_PARTITIONS_PER_TOPIC:
            raise ApiError(
                ErrorCode.invalid_partitions, f"{count} partitions; 1 to {MAX_PARTITIONS_PER_TOPIC} are allowed"
            )
        return count

    def grow(self, name: str, *, partition_count: int) -> Topic:
        """Give a topic more partitions. ``ApiError`` if there is no such topic or it has as many already."""
        topic = self.check_growth(name, partition_count)
        record = TopicGrown(topic.topic_id, partition_count)
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
        return topic

    def delete(self, topic: Topic) -> None:
        """Delete a topic with its data."""
        record = TopicDeleted(topic.topic_id)
        self._append(record)
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
