"""Compaction against a model: whoever reads from the beginning ends with the same values, wherever it is killed."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.support.disk_trace import traced
from tests.support.every_moment import EveryMoment
from tests.unit.broker.crash_world import FAST_FOLDER
from tests.unit.broker.log.compacted_log import RETENTION_MS, CompactedLog, compacted_log

from tallystick.clock import ManualClock
from tallystick.wire.records import WireRecord

keys = st.sampled_from([b"a", b"b", b"c", b"d"])
values = st.none() | st.sampled_from([b"1", b"2" * 30])
pairs = st.lists(st.tuples(keys, values), min_size=1, max_size=3)
codecs = st.sampled_from(["none", "none", "lz4"])
steps = st.one_of(
    st.tuples(st.just("send"), pairs, st.sampled_from([-1, 1, 2]), codecs),
    st.tuples(st.just("transact"), pairs, st.sampled_from([11, 12]), codecs),
    st.tuples(st.just("end"), st.sampled_from([11, 12]), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([1, RETENTION_MS])),
    st.tuples(st.just("compact"), st.sampled_from([0, 1 << 20])),
    st.tuples(st.just("roll")),
    st.tuples(st.just("restart")),
)
scripts = st.lists(steps, min_size=3, max_size=40)


class Model:
    """What was written: every record, and what became of its transaction."""

    def __init__(self) -> None:
        self.records: dict[int, tuple[bytes, bytes | None]] = {}
        self.open: dict[int, list[int]] = {}
        self.aborted: set[int] = set()

    def sent(self, base_offset: int, sent: list[tuple[bytes, bytes | None]], *, transaction: int | None) -> None:
        offsets = range(base_offset, base_offset + len(sent))
        self.records.update(zip(offsets, sent, strict=True))
        if transaction is not None:
            self.open.setdefault(transaction, []).extend(offsets)

    def ended(self, producer_id: int, *, commit: bool) -> None:
        offsets = self.open.pop(producer_id, [])
        if not commit:
            self.aborted.update(offsets)

    def newest(self, before: int) -> dict[bytes, bytes | None]:
        """The last committed value of each key."""
        found: dict[bytes, bytes | None] = {}
        for offset in sorted(self.records):
            if offset < before and offset not in self.aborted:
                key, value = self.records[offset]
                found[key] = value
        return found


def check(log: CompactedLog, model: Model) -> None:
    stable = log.partition.last_stable_offset
    committed = log.committed()
    assert [record.offset for record in committed] == sorted(record.offset for record in committed)
    for record in committed:
        assert model.records[record.offset] == (record.key, record.value)
        assert record.offset not in model.aborted
    assert same_values(committed, model.newest(stable))
    every = {record.offset for record in log.records()}
    assert {offset for offset in model.records if offset >= stable} <= every, "what is unstable is untouched"


def same_values(records: list[WireRecord], newest: dict[bytes, bytes | None]) -> bool:
    """A key whose newest record was a tombstone may be gone altogether."""
    read = {record.key: record.value for record in records}
    with_value = {key: value for key, value in newest.items() if value is not None}
    return {key: value for key, value in read.items() if value is not None} == with_value


def take(log: CompactedLog, model: Model, step: tuple[Any, ...]) -> None:
    match step:
        case ("send", sent, producer_id, codec):
            model.sent(log.send(*sent, producer_id=producer_id, codec=codec), sent, transaction=None)
        case ("transact", sent, producer_id, codec):
            base = log.send(*sent, producer_id=producer_id, transactional=True, codec=codec)
            model.sent(base, sent, transaction=producer_id)
        case ("end", producer_id, commit):
            if producer_id in model.open:
                log.end(producer_id, commit=commit)
                model.ended(producer_id, commit=commit)
        case ("wait", by_ms):
            log.clock.advance(by_ms=by_ms)
        case ("roll",):
            log.roll()
        case ("compact", buffer_bytes):
            log.compact(buffer_bytes=buffer_bytes)


@given(scripts)
@settings(max_examples=150)
def test_readers_end_with_the_same_values_and_a_start_finds_the_same_producers(script: list[tuple[Any, ...]]) -> None:
    model, clock = Model(), ManualClock(start_ms=1_000_000)
    with tempfile.TemporaryDirectory(dir=FAST_FOLDER) as folder, ExitStack() as stack, capture_logs():
        log = stack.enter_context(compacted_log(Path(folder), clock=clock))
        for step in (*script, ("roll",), ("compact", 1 << 20), ("restart",)):
            if step == ("restart",):
                producers, sequences = log.partition.producers.entries(), log.sequences
                stack.close()
                log = stack.enter_context(compacted_log(Path(folder), clock=clock))
                assert log.partition.producers.entries() == producers
                log.sequences = sequences
            else:
                take(log, model, step)
            check(log, model)
        stack.close()


@given(scripts)
@settings(max_examples=8)
def test_compaction_may_be_killed_at_every_change_of_the_disk(script: list[tuple[Any, ...]]) -> None:
    model, clock = Model(), ManualClock(start_ms=1_000_000)
    with tempfile.TemporaryDirectory(dir=FAST_FOLDER) as base, capture_logs():
        moments = EveryMoment(Path(base) / "log", Path(base) / "copies", power_losses=2)
        with (
            traced(moments.folder, moments.on_change, moments.power.on_created),
            compacted_log(moments.folder, clock=clock) as log,
        ):
            for step in (*(step for step in script if step[0] != "restart"), ("send", [(b"a", b"1")], -1, "none")):
                take(log, model, step)
            for producer_id in list(model.open):
                take(log, model, ("end", producer_id, False))
            log.roll()
            moments.listening = True
            log.compact()
            moments.copy("at the end")
            moments.listening = False
            end, producers = log.partition.log.end_offset, log.partition.producers.entries()
        for copy, boots, during in moments.made:
            with compacted_log(copy, clock=clock, boots=boots) as log:
                try:
                    assert log.partition.log.end_offset == end
                    check(log, model)
                    assert log.partition.producers.entries() == producers
                    log.compact()
                    check(log, model)
                except AssertionError as failed:
                    failed.add_note(during)
                    raise
