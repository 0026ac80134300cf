"""A transaction coordinator over a journal, partitions and groups that only take notes."""

from __future__ import annotations

import errno
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tallystick.broker.ports import JournalRecord
from tallystick.broker.transactions import TransactionCoordinator
from tallystick.broker.transactions.settings import DEFAULTS, TransactionSettings
from tallystick.clock import ManualClock


@dataclass
class NotedJournal:
    """Keeps records in memory. ``fails_after``: so many more appends succeed; then the disk is full."""

    records: list[JournalRecord] = field(default_factory=list)
    fails_after: int | None = None
    on_append: Callable[[], None] = lambda: None

    def append(self, record: JournalRecord) -> None:
        if self.fails_after is not None:
            if self.fails_after == 0:
                raise OSError(errno.ENOSPC, "no space left on device")
            self.fails_after -= 1
        self.on_append()
        self.records.append(record)

    def take_back(self) -> None:
        self.records.pop()


@dataclass
class NotedPartitions:
    """Every partition exists; markers are noted as (topic, partition, producer id, epoch, commit)."""

    markers: list[tuple[str, int, int, int, bool]] = field(default_factory=list)
    is_full: bool = False

    def exists(self, topic: str, partition: int) -> bool:
        return bool(topic) and partition >= 0

    def topic_id(self, topic: str) -> uuid.UUID | None:
        return uuid.uuid5(uuid.NAMESPACE_OID, topic)

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
        if self.is_full:
            raise OSError(errno.ENOSPC, "no space left on device")
        assert (coordinator_epoch, now_ms > 0) == (0, True)
        self.markers.append((topic, partition, producer_id, producer_epoch, commit))


@dataclass
class NotedGroups:
    """Completed transactions as (group, producer id, commit)."""

    completed: list[tuple[str, int, bool]] = field(default_factory=list)

    def complete_transaction(self, group_id: str, producer_id: int, *, commit: bool) -> None:
        self.completed.append((group_id, producer_id, commit))


class World:
    """A coordinator with its surroundings; ``restart`` is a crash and a recovery."""

    def __init__(self, settings: TransactionSettings = DEFAULTS) -> None:
        self.settings = settings
        self.journal = NotedJournal()
        self.partitions = NotedPartitions()
        self.groups = NotedGroups()
        self.clock = ManualClock(start_ms=1_000)
        self.coordinator = self._new()

    def _new(self) -> TransactionCoordinator:
        return TransactionCoordinator(self.journal, self.partitions, self.clock, self.groups, self.settings)

    def restart(self) -> None:
        self.coordinator = self._new()
        for record in self.journal.records:
            self.coordinator.replay(record)
        self.coordinator.finish_recovery()

    def init(self, transactional_id: str = "t", **options: Any) -> tuple[int, int]:
        producer = self.coordinator.init_producer_id(transactional_id, timeout_ms=60_000, **options)
        assert producer.error.name == "none"
        return producer.producer_id, producer.producer_epoch

    def states(self) -> dict[str, Any]:
        return {state.transactional_id: state for state in self.coordinator.transactions()}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make_world() -> Callable[[], World]:
    """For property tests, which need a new one for each example."""
    return World
