"""A crash between any two writes: a transaction still ends in all its partitions and offsets alike."""

from __future__ import annotations

import contextlib
import errno
import uuid
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.catalog import Catalog

from tallystick.broker.groups import GroupCoordinator
from tallystick.broker.groups.records import CommittedOffset
from tallystick.broker.groups.requests.offsets import Committer
from tallystick.broker.ports import JournalRecord
from tallystick.broker.transactions import TransactionCoordinator
from tallystick.clock import ManualClock
from tallystick.wire.errors import ErrorCode

PARTITIONS = [("a", 0), ("a", 1), ("b", 0)]


class Crash(OSError):
    """The machine is gone. An ``OSError``, so that nothing swallows it but what may."""


class Disk:
    """What survives: the journal and each partition's log of ("data" or "commit" or "abort", producer, epoch)."""

    def __init__(self) -> None:
        self.records: list[JournalRecord] = []
        self.logs: dict[tuple[str, int], list[tuple[str, int, int]]] = {partition: [] for partition in PARTITIONS}
        self.writes_left: int | None = None

    def spend(self) -> None:
        if self.writes_left is not None:
            if self.writes_left == 0:
                raise Crash(errno.EIO, "crashed")
            self.writes_left -= 1

    def append(self, record: JournalRecord) -> None:
        self.spend()
        self.records.append(record)

    def take_back(self) -> None:
        self.records.pop()

    def exists(self, topic: str, partition: int) -> bool:
        return (topic, partition) in self.logs

    def topic_id(self, topic: str) -> uuid.UUID | None:
        return uuid.uuid5(uuid.NAMESPACE_OID, topic)

    def append_marker(
        self, topic: str, partition: int, *, producer_id: int, producer_epoch: int, commit: bool, **_: Any
    ) -> None:
        log = self.logs[topic, partition]
        if self.is_open(topic, partition, producer_id):
            self.spend()
            log.append(("commit" if commit else "abort", producer_id, producer_epoch))

    def is_open(self, topic: str, partition: int, producer_id: int) -> bool:
        kinds = [kind for kind, owner, _ in self.logs[topic, partition] if owner == producer_id]
        return bool(kinds) and kinds[-1] == "data"

    def ends(self, producer_id: int) -> dict[tuple[str, int], list[str]]:
        """How each partition's transactions of this producer ended, in order."""
        return {
            partition: [kind for kind, owner, _ in log if owner == producer_id and kind != "data"]
            for partition, log in self.logs.items()
        }


class Machine:
    """Both coordinators on one disk."""

    def __init__(self, disk: Disk) -> None:
        clock = ManualClock(start_ms=1_000)
        self.disk = disk
        self.groups = GroupCoordinator(disk, Catalog(**dict.fromkeys((topic for topic, _ in PARTITIONS), 4)), clock)
        self.transactions = TransactionCoordinator(disk, disk, clock, self.groups)
        for record in list(disk.records):
            self.transactions.replay(record)
            self.groups.replay(record)
        self.transactions.finish_recovery()
        self.groups.finish_recovery()

    def begin(self, offset: int) -> tuple[int, int]:
        """A transaction that has written to every partition and committed an offset."""
        producer = self.transactions.init_producer_id("t", timeout_ms=60_000)
        owner = (producer.producer_id, producer.producer_epoch)
        assert self.transactions.add_partitions("t", *owner, PARTITIONS) is ErrorCode.none
        for partition in PARTITIONS:
            self.disk.logs[partition].append(("data", *owner))
        assert self.transactions.add_group("t", *owner, "g") is ErrorCode.none
        errors = self.groups.offsets.commit_in_transaction(
            "g",
            Committer(),
            [CommittedOffset(topic="a", partition=0, offset=offset)],
            producer_id=owner[0],
            producer_epoch=owner[1],
        )
        assert set(errors.values()) == {ErrorCode.none}
        return owner

    def visible_offset(self) -> int:
        (row,) = self.groups.offsets.fetch("g", [("a", 0)], require_stable=True)
        assert row.error is ErrorCode.none
        return row.offset


@given(
    st.sampled_from(["commit", "abort", "init", "time out"]),
    st.integers(0, 12),
    st.integers(0, 12),
    st.sampled_from([1, 2]),
)
@settings(max_examples=600, deadline=None)
def test_a_transaction_ends_alike_everywhere_wherever_the_crashes_come(
    how: str, first_crash_after: int, second_crash_after: int, version: int
) -> None:
    disk = Disk()
    machine = Machine(disk)
    producer_id, epoch = machine.begin(offset=1)
    assert (
        machine.transactions.end("t", producer_id, epoch, commit=True, transaction_version=version).error
        is ErrorCode.none
    )
    before = len(disk.records)
    owner = machine.begin(offset=2)
    disk.writes_left = first_crash_after
    answered = None
    match how:
        case "commit" | "abort":
            answered = machine.transactions.end("t", *owner, commit=how == "commit", transaction_version=version).error
        case "init":
            answered = machine.transactions.init_producer_id("t", timeout_ms=60_000).error
        case "time out":
            machine.transactions.tick(1_000_000)
    disk.writes_left = second_crash_after
    with contextlib.suppress(Crash):  # a crash while recovering from the crash
        Machine(disk)
    disk.writes_left = None
    machine = Machine(disk)
    successor = machine.transactions.init_producer_id("t", timeout_ms=60_000)
    assert successor.error is ErrorCode.none
    ends = {tuple(kinds) for kinds in disk.ends(owner[0]).values()}
    assert len(ends) == 1, f"the partitions disagree: {disk.logs}"
    (kinds,) = ends
    assert kinds[0] == "commit"
    assert kinds[1:] in {("commit",), ("abort",)}
    assert machine.visible_offset() == (2 if kinds[1] == "commit" else 1)
    if how != "commit":
        assert kinds[1] == "abort"
    elif answered is ErrorCode.none or first_crash_after > 0:
        assert kinds[1] == "commit", "what was decided durably stays decided"
    assert len(disk.records) > before
