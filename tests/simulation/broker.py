"""A broker in memory: the real state machines of producers, transactions and groups over lists instead of files.

Owns: the journal and the logs, which survive a crash, and everything else, which does not. Must not know: workers,
time (a clock arrives), what is right.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.support.catalog import Catalog, topic_id_of

from tallystick.broker.groups import GroupCoordinator, GroupSettings
from tallystick.broker.groups.classic.group import ClassicGroup
from tallystick.broker.groups.classic.members import Reply
from tallystick.broker.ports import JournalRecord
from tallystick.broker.producer_state import Accept, Duplicate, ProducerStates, Reject
from tallystick.broker.transactions import TransactionCoordinator
from tallystick.clock import ManualClock
from tallystick.verify.oracle import Position, Seen, TopicView
from tallystick.wire.batch import CONTROL, TRANSACTIONAL, BatchHeader
from tallystick.wire.errors import ErrorCode

GROUP: Final = "g"
SOURCE: Final = "in"
SINKS: Final = ("out", "copies")
_STARTS_MAX: Final = 20


class BrokerDied(BaseException):
    """The broker was killed at this very write; what was written before it stays."""


@dataclass(slots=True)
class Entry:
    """One batch of a log. ``commit`` is a marker's; ``values`` are key and identity of each record."""

    header: BatchHeader
    values: tuple[tuple[bytes, str], ...] = ()
    commit: bool | None = None


def header_of(
    *, base_offset: int, producer_id: int, producer_epoch: int, sequence: int, count: int, control: bool, now_ms: int
) -> BatchHeader:
    """As much of a header as producer state looks at."""
    transactional = producer_id >= 0
    return BatchHeader(
        base_offset=base_offset,
        batch_length=0,
        partition_leader_epoch=0,
        magic=2,
        crc=0,
        attributes=(TRANSACTIONAL if transactional else 0) | (CONTROL if control else 0),
        last_offset_delta=count - 1,
        base_timestamp_ms=now_ms,
        max_timestamp_ms=now_ms,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=sequence,
        record_count=count,
    )


@dataclass(slots=True)
class Log:
    """One partition: its batches, and the producers that follow from them."""

    entries: list[Entry] = field(default_factory=list)
    producers: ProducerStates = field(default_factory=ProducerStates)

    @property
    def end(self) -> int:
        return self.entries[-1].header.next_offset if self.entries else 0

    @property
    def stable(self) -> int:
        return self.producers.last_stable_offset(self.end)

    def recover(self) -> None:
        """Producer state again, from the batches alone."""
        self.producers = ProducerStates()
        for entry in self.entries:
            self.apply(entry)

    def apply(self, entry: Entry) -> None:
        if entry.commit is None:
            self.producers.apply_batch(entry.header)
        else:
            self.producers.apply_marker(entry.header, commit=entry.commit, coordinator_epoch=0)

    def visible(self) -> list[tuple[int, tuple[bytes, str]]]:
        """What a committed reader sees: told by the markers in the log, not by producer state."""
        ended: dict[int, bool] = {}
        fate: dict[int, bool] = {}
        for at in range(len(self.entries) - 1, -1, -1):
            entry = self.entries[at]
            producer_id = entry.header.producer_id
            if entry.commit is not None:
                ended[producer_id] = entry.commit
            else:
                fate[at] = producer_id < 0 or ended.get(producer_id, False)
        return [
            (entry.header.base_offset + index, value)
            for at, entry in enumerate(self.entries)
            if entry.commit is None and fate[at]
            for index, value in enumerate(entry.values)
            if entry.header.base_offset + index < self.stable
        ]

    def raw(self) -> list[tuple[int, tuple[bytes, str]]]:
        return [
            (entry.header.base_offset + index, value)
            for entry in self.entries
            for index, value in enumerate(entry.values)
        ]


class Broker:
    """``dies`` is asked before each durable write; True kills the broker there."""

    def __init__(self, clock: ManualClock, *, partitions: int, dies: Callable[[], bool]) -> None:
        self.clock = clock
        self.partitions = partitions
        self._dies = dies
        self.journal: list[JournalRecord] = []
        self.logs = {(topic, number): Log() for topic in (SOURCE, *SINKS) for number in range(partitions)}
        self._catalog = Catalog(**dict.fromkeys((SOURCE, *SINKS), partitions))
        self.incarnation = 0
        self._start()

    def _start(self) -> None:
        self.transactions = TransactionCoordinator(self, self, self.clock, self)
        self.groups = GroupCoordinator(self, self._catalog, self.clock, GroupSettings())

    def crash(self) -> None:
        """SIGKILL and a start: the journal and the logs are read again."""
        for _ in range(_STARTS_MAX):
            try:
                self._recover()
            except BrokerDied:
                continue  # killed again, at a write of its recovery
            return
        raise RuntimeError(f"the broker did not come up in {_STARTS_MAX} starts")

    def _recover(self) -> None:
        self.incarnation += 1
        for log in self.logs.values():
            log.recover()
        self._start()
        for record in list(self.journal):
            self.transactions.replay(record)
            self.groups.replay(record)
        self.groups.finish_recovery()
        self.transactions.finish_recovery()

    # -- the ports of the coordinators

    def append(self, record: JournalRecord) -> None:
        if self._dies():
            raise BrokerDied
        self.journal.append(record)

    def take_back(self) -> None:
        self.journal.pop()

    def exists(self, topic: str, partition: int) -> bool:
        return (topic, partition) in self.logs

    def topic_id(self, topic: str) -> uuid.UUID | None:
        return topic_id_of(topic)

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
        log = self.logs[topic, partition]
        decision = log.producers.check_marker(
            producer_id=producer_id, producer_epoch=producer_epoch, coordinator_epoch=coordinator_epoch
        )
        entry = log.producers.producers.get(producer_id)
        if not isinstance(decision, Accept) or (
            entry is not None and entry.transaction_first_offset is None and entry.producer_epoch == producer_epoch
        ):
            return
        if self._dies():
            raise BrokerDied
        header = header_of(
            base_offset=log.end,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            sequence=-1,
            count=1,
            control=True,
            now_ms=now_ms,
        )
        log.entries.append(Entry(header, commit=commit))
        log.apply(log.entries[-1])

    def complete_transaction(self, group_id: str, producer_id: int, *, commit: bool) -> None:
        self.groups.complete_transaction(group_id, producer_id, commit=commit)

    # -- requests that are not the coordinators' own

    def produce(
        self,
        transactional_id: str,
        producer: tuple[int, int],
        place: tuple[str, int],
        sequence: int,
        values: tuple[tuple[bytes, str], ...],
    ) -> ErrorCode:
        log = self.logs[place]
        header = header_of(
            base_offset=log.end,
            producer_id=producer[0],
            producer_epoch=producer[1],
            sequence=sequence,
            count=len(values),
            control=False,
            now_ms=self.clock.now_ms(),
        )
        decision = log.producers.check(header)
        if isinstance(decision, Duplicate):
            return ErrorCode.none
        if isinstance(decision, Reject):
            return decision.code
        if not log.producers.has_open_transaction(*producer):
            error = self.transactions.verify_partition(transactional_id, *producer, *place)
            if error is not ErrorCode.none:
                return error
        if self._dies():
            raise BrokerDied
        log.entries.append(Entry(header, values))
        log.apply(log.entries[-1])
        return ErrorCode.none

    def feed(self, partition: int, key: bytes, identity: str) -> int:
        """An input, written without a producer id; its offset."""
        log = self.logs[SOURCE, partition]
        header = header_of(
            base_offset=log.end,
            producer_id=-1,
            producer_epoch=-1,
            sequence=-1,
            count=1,
            control=False,
            now_ms=self.clock.now_ms(),
        )
        log.entries.append(Entry(header, ((key, identity),)))
        log.apply(log.entries[-1])
        return header.base_offset

    def group(self) -> ClassicGroup:
        table = self.groups._table
        return table.make_classic(table.find_or_make(GROUP))

    def take_replies(self) -> list[Reply]:
        group = self.group()
        replies = list(group.replies)
        group.replies.clear()
        return replies

    def view(self, topic: str) -> TopicView:
        """Both views of a topic, for the oracle."""

        def seen(kind: Callable[[Log], list[tuple[int, tuple[bytes, str]]]]) -> tuple[Seen, ...]:
            return tuple(
                Seen(Position(topic, number, offset), key, identity, "")
                for number in range(self.partitions)
                for offset, (key, identity) in kind(self.logs[topic, number])
            )

        return TopicView(
            topic,
            seen(Log.visible),
            seen(Log.raw),
            {number: self.logs[topic, number].stable for number in range(self.partitions)},
            {number: self.logs[topic, number].end for number in range(self.partitions)},
        )


def chance_of(chance: random.Random, probability: float) -> Callable[[], bool]:
    return lambda: chance.random() < probability
