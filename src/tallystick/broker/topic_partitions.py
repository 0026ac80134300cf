"""A topic with its partitions, and their folders on disk.

Owns: making folders, opening logs, removing them. Must not know: the journal of topics, names, who decides.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from tallystick.broker.log.boots import Boots
from tallystick.broker.log.checkpoints import Checkpoints
from tallystick.broker.log.durability import Durability, sync_folder
from tallystick.broker.log.settings import LogSettings
from tallystick.broker.partition import Partition
from tallystick.broker.topic_configs import TopicConfig
from tallystick.clock import Clock
from tallystick.wire.errors import ApiError, ErrorCode

logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class Topic:
    """A topic and its open partitions, by index. ``configs`` are its own settings, ``config`` is what holds."""

    name: str
    topic_id: uuid.UUID
    configs: dict[str, str]
    config: TopicConfig
    partitions: list[Partition] = field(default_factory=list)


class PartitionFolders:
    """The folders of all partitions. ``count``: so many partitions are open."""

    def __init__(
        self,
        folder: Path,
        durability: Durability,
        *,
        settings: LogSettings,
        boots: Boots | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.count = 0
        self.checkpoints = Checkpoints()
        self._folder = folder
        self._durability = durability
        self._settings = settings
        self._boots = boots
        self._clock = clock

    def open(self, topic: Topic, count: int) -> None:
        """Have ``count`` partitions open, those that are there with what is in them. ``OSError``: some are not."""
        self._open_into(topic.partitions, topic, count)

    def _open_into(self, opened: list[Partition], topic: Topic, count: int) -> None:
        parent = self._folder / topic.topic_id.hex
        for index in range(len(topic.partitions), count):
            opened.append(self._partition(topic, index, parent / str(index)))
            self.count += 1
            if self._durability.syncs:
                sync_folder(parent / str(index))
        if self._durability.syncs:
            sync_folder(parent)
            sync_folder(self._folder)

    def _partition(self, topic: Topic, index: int, folder: Path) -> Partition:
        return Partition(
            topic.name,
            index,
            folder,
            self._durability,
            config=topic.config,
            settings=self._settings,
            boots=self._boots,
            checkpoints=self.checkpoints,
            clock=self._clock,
        )

    @contextmanager
    def made(self, topic: Topic, count: int) -> Iterator[None]:
        """The topic has ``count`` partitions after a block that writes the record of them, unless it fails.

        They are made before the record, so that a full disk makes no topic with a part of its partitions, and no folder
        is there without them. ``ApiError``: the disk is full.
        """
        opened: list[Partition] = []
        try:
            self._open_into(opened, topic, count)
            yield
        except OSError as error:
            self._discard(topic, opened)
            reason = f"the partitions' folders cannot be made: {error.strerror}"
            raise ApiError(ErrorCode.kafka_storage_error, reason) from error
        except ApiError:
            self._discard(topic, opened)
            raise
        topic.partitions += opened

    def _discard(self, topic: Topic, opened: list[Partition]) -> None:
        """Undo the making of new partitions, that of a folder which could not be filled, too."""
        self._close(opened)
        parent = self._folder / topic.topic_id.hex
        for folder in list(parent.iterdir()) if parent.exists() else ():
            if int(folder.name) >= len(topic.partitions):
                shutil.rmtree(folder, ignore_errors=True)
        if not topic.partitions:
            shutil.rmtree(parent, ignore_errors=True)

    def _close(self, partitions: list[Partition]) -> None:
        self.count -= len(partitions)
        for partition in partitions:
            partition.close(deleted=True)

    def remove(self, topic: Topic) -> None:
        """The topic is deleted. What cannot be removed now, ``sweep`` removes at the next start."""
        self._close(topic.partitions)
        shutil.rmtree(self._folder / topic.topic_id.hex, ignore_errors=True)

    def sweep(self, known: Container[str]) -> None:
        """Remove the folders of topics that are not known, by their ids in hexadecimal."""
        for folder in self._folder.iterdir():
            if folder.name not in known:
                logger.info("removing the folder of a deleted topic", folder=folder.name)
                shutil.rmtree(folder)
