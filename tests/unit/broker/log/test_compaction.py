"""Compaction, case by case: what stays of records, tombstones, markers, batches and offsets."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.broker.log.compacted_log import CONFIG, RETENTION_MS, START_MS, Pair, compacted_log

from tallystick.broker.log.compaction.choice import CompactionRules, due
from tallystick.broker.topic_configs import TopicConfig
from tallystick.wire.batch import DELETE_HORIZON


def test_of_each_key_the_newest_record_stays_at_its_offset(tmp_path: Path) -> None:
    with compacted_log(tmp_path) as log:
        log.send((b"a", b"1"), (b"b", b"1"), (b"a", b"2"))
        log.send((b"c", b"1"))
        log.send((b"b", b"2"))
        log.roll()
        log.compact()
        kept: list[Pair] = [(b"a", b"2"), (b"c", b"1"), (b"b", b"2")]
        assert log.pairs() == kept
        assert [record.offset for record in log.records()] == [2, 3, 4]
        first, _ = log.batches()[0]
        assert (first.base_offset, first.last_offset, first.record_count) == (0, 2, 1)
        assert log.compact() is None
    for offset in (5, 6):
        with compacted_log(tmp_path) as log:
            assert log.pairs() == kept
            assert log.send((b"d", b"1")) == offset
            kept = log.pairs()


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_batches_keep_their_codec(tmp_path: Path, codec: str) -> None:
    with compacted_log(tmp_path) as log:
        log.send((b"a", b"1"), (b"b", b"1"), codec=codec)
        log.send((b"a", b"2"), codec=codec)
        log.roll()
        log.compact()
        assert log.pairs() == [(b"b", b"1"), (b"a", b"2")]
        assert {header.attributes for header, _ in log.batches()} == {
            {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}[codec]
        }


def test_what_is_written_to_is_not_compacted_and_what_is_unstable_neither(tmp_path: Path) -> None:
    with compacted_log(tmp_path) as log:
        log.send((b"a", b"1"))
        log.send((b"a", b"2"))
        assert log.compact() is None
        log.send((b"a", b"3"), producer_id=1, transactional=True)
        log.roll()
        assert log.compact() is None  # the segment holds an open transaction
        log.end(1, commit=True)
        log.compact()
        assert log.pairs() == [(b"a", b"3")]


def test_a_tombstone_stays_for_its_time_and_goes_then(tmp_path: Path) -> None:
    with compacted_log(tmp_path) as log:
        log.send((b"a", b"1"), (b"b", b"1"))
        log.send((b"a", None), (b"c", b"1"))
        log.roll()
        log.compact()
        assert log.pairs() == [(b"b", b"1"), (b"a", None), (b"c", b"1")]
        horizon = [header for header, _ in log.batches() if header.attributes & DELETE_HORIZON]
        assert [header.base_timestamp_ms for header in horizon] == [START_MS + RETENTION_MS]
        assert {record.timestamp_ms for record in log.records()} == {START_MS}
        for advance_ms, stays in ((RETENTION_MS - 1, True), (1, False)):
            log.clock.advance(by_ms=advance_ms)
            log.send((b"d", b"%d" % advance_ms))
            log.roll()
            log.compact()
            assert ((b"a", None) in log.pairs()) is stays
        assert log.pairs() == [(b"b", b"1"), (b"c", b"1"), (b"d", b"1")]


def test_aborted_records_go_and_do_not_hide_older_ones(tmp_path: Path) -> None:
    with compacted_log(tmp_path) as log:
        log.send((b"a", b"1"))
        log.send((b"a", b"aborted"), (b"b", b"aborted"), producer_id=1, transactional=True)
        log.end(1, commit=False)
        log.roll()
        log.compact()
        assert log.pairs() == [(b"a", b"1")]
        assert [(record.key, record.value) for record in log.committed()] == [(b"a", b"1")]


def test_a_marker_goes_when_nothing_is_left_of_its_transaction_and_its_time_is_over(tmp_path: Path) -> None:
    def markers() -> int:
        return sum(header.is_control for header, _ in log.batches())

    with compacted_log(tmp_path) as log:
        for commit in (True, False):
            log.send((b"a", b"%d" % commit), producer_id=1, transactional=True)
            log.end(1, commit=commit)
        log.send((b"a", b"last"), producer_id=1)
        for number, expected in enumerate((2, 2, 0)):
            log.send((b"z", b"%d" % number))
            log.roll()
            log.compact()
            assert markers() == expected, number
            assert (b"a", b"last") in log.pairs()
            log.clock.advance(by_ms=RETENTION_MS)
        assert log.partition.log.aborted_between(0, 100) == []


def test_the_last_batch_of_a_producer_stays_without_its_records(tmp_path: Path) -> None:
    with compacted_log(tmp_path) as log:
        log.send((b"a", b"1"), producer_id=7)
        log.send((b"a", b"2"), producer_id=7)
        log.send((b"a", b"3"))
        log.roll()
        log.compact()
        empty = [header for header, _ in log.batches() if header.record_count == 0]
        assert [(header.producer_id, header.base_sequence, header.base_offset) for header in empty] == [(7, 1, 1)]
        producers = log.partition.producers.entries()
    with compacted_log(tmp_path) as log:
        assert log.partition.producers.entries() == producers
        log.sequences[7] = 2
        log.send((b"b", b"1"), producer_id=7)
    for file in [*tmp_path.glob("*.snapshot"), *tmp_path.glob("*.index")]:
        file.unlink()
    with compacted_log(tmp_path) as log:
        assert log.partition.producers.producers[7].last_sequence == 2


def test_what_became_small_becomes_one_segment_in_the_next_pass(tmp_path: Path) -> None:
    with compacted_log(tmp_path) as log:
        for number in range(30):
            log.send((b"k%d" % (number % 3), b"%d" % number))
        log.roll()
        log.compact()
        log.send((b"k3", b"30"))
        log.roll()
        before = len(log.partition.log.segments)
        doomed = log.compact()
        assert len(log.partition.log.segments) < before
        assert doomed
        assert all(path.exists() for path in doomed)
        wanted = [(b"k0", b"27"), (b"k1", b"28"), (b"k2", b"29"), (b"k3", b"30")]
        assert log.pairs() == wanted
        producers = log.partition.producers.entries()
    with compacted_log(tmp_path) as log:
        assert not any(path.exists() for path in doomed)
        assert log.pairs() == wanted
        assert log.partition.producers.entries() == producers


def test_keys_that_do_not_fit_are_compacted_in_the_next_pass(tmp_path: Path) -> None:
    with compacted_log(tmp_path) as log:
        for number in range(1_500):
            log.send((b"k%d" % number, b"old"))
        log.send((b"k0", b"new"), (b"k1400", b"new"))
        log.roll()
        log.compact(buffer_bytes=0)
        first = log.partition.log.compaction.cleaned_offset
        assert 1_000 <= first < 1_500
        assert (b"k0", b"old") in log.pairs()
        log.compact(buffer_bytes=0)
        assert log.partition.log.compaction.cleaned_offset == 1_502
        assert log.pairs().count((b"k0", b"old")) == log.pairs().count((b"k1400", b"old")) == 0
        assert len(log.pairs()) == 1_500


def test_a_full_disk_ends_the_pass_and_leaves_the_log(tmp_path: Path) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with compacted_log(tmp_path) as log:
        log.send((b"a", b"1"))
        log.send((b"a", b"2"))
        log.roll()
        log.durability.before_write = full
        with pytest.raises(OSError, match="No space"):
            log.compact()
        log.durability.before_write = None
        assert log.pairs() == [(b"a", b"1"), (b"a", b"2")]
        assert not list(tmp_path.glob("*.cleaned"))
        log.compact()
        assert log.pairs() == [(b"a", b"2")]


def test_reads_in_the_middle_of_a_pass_see_the_old_or_the_new(tmp_path: Path) -> None:
    with compacted_log(tmp_path) as log:
        for number in range(20):
            log.send((b"a%d" % (number % 4), b"%d" % number))
        log.roll()
        wanted = {b"a%d" % key: b"%d" % (16 + key) for key in range(4)}
        due_now = log.partition.compaction_due(START_MS)
        assert due_now is not None
        work = log.partition.compaction(due_now, now_ms=START_MS, buffer_bytes=1_000).run()
        for _ in work:
            log.durability.sync_all_now()
            assert dict(log.pairs()) == wanted
        assert len(log.pairs()) == 4


RULES = CONFIG.compaction


class Piece:
    def __init__(self, base_offset: int, *, time_ms: int = 0, size_bytes: int = 100) -> None:
        self.base_offset, self.next_offset = base_offset, base_offset + 10
        self.size_bytes, self.largest_timestamp_ms = size_bytes, time_ms


def chosen(
    config: TopicConfig, *times_ms: int, cleaned: int = 0, stable: int = 1_000, now_ms: int = 1_000
) -> tuple[int, int] | None:
    pieces = [Piece(at * 10, time_ms=time_ms) for at, time_ms in enumerate(times_ms)] + [Piece(len(times_ms) * 10)]
    rules: CompactionRules = config.compaction
    found = due(
        pieces,
        rules,
        cleaned_offset=cleaned,
        last_stable_offset=stable,
        now_ms=now_ms,
        first_timestamp_of=lambda place: times_ms[place],
    )
    return None if found is None else (found.first_dirty, found.end)


def test_enough_must_be_dirty() -> None:
    half = TopicConfig(cleanup_policy=("compact",), min_cleanable_dirty_ratio=0.5)
    assert chosen(half, 0, 0, 0, 0, cleaned=20) is None
    assert chosen(half, 0, 0, 0, 0, cleaned=10) == (10, 40)
    assert chosen(half, 0, 0, 0, 0, cleaned=40) is None


def test_young_segments_wait_for_the_shortest_lag() -> None:
    lag = TopicConfig(cleanup_policy=("compact",), min_compaction_lag_ms=100)
    assert chosen(lag, 500, 900, 901) == (0, 20)
    assert chosen(lag, 901, 0) is None


def test_the_longest_lag_is_reason_enough() -> None:
    lag = TopicConfig(cleanup_policy=("compact",), min_cleanable_dirty_ratio=0.9, max_compaction_lag_ms=100)
    assert chosen(lag, 0, 900, cleaned=10) is None
    assert chosen(lag, 0, 899, cleaned=10) == (10, 20)


def test_nothing_is_compacted_from_the_last_stable_offset_on() -> None:
    assert chosen(CONFIG, 0, 0, 0, stable=25) == (0, 20)
    assert chosen(CONFIG, 0, stable=9) is None
