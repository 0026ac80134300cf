"""Segments: appended, read, looked up, and recovered from every torn or damaged state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.log.durability import Durability
from tallystick.broker.log.partition_log import PartitionLog
from tallystick.broker.log.segment import segment_path
from tallystick.broker.log.settings import LogSettings
from tallystick.errors import CorruptData
from tallystick.wire.batch import BatchHeader, read_header
from tallystick.wire.records import BatchSpec, decode_batch, encode_batch, iterate_batches

OPEN: list[PartitionLog] = []


class Seen:
    """A state that is nothing but the first offsets of all batches, and which of them were read at this start."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.replayed: list[int] = []

    def apply(self, header: BatchHeader, _: memoryview) -> None:
        self.offsets.append(header.base_offset)
        self.replayed.append(header.base_offset)

    def save(self) -> bytes:
        return json.dumps(self.offsets).encode()

    def restore(self, saved: bytes | None) -> None:
        self.offsets = [] if saved is None else json.loads(saved)
        self.replayed = []


def opened(folder: Path, *, segment_bytes: int = 1_000_000, state: Seen | None = None) -> PartitionLog:
    log = PartitionLog(
        folder,
        Durability(FsyncPolicy.NEVER),
        Seen() if state is None else state,
        settings=LogSettings(log_segment_bytes=segment_bytes),
    )
    OPEN.append(log)
    return log


@pytest.fixture(autouse=True)
def close_logs() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def append(log: PartitionLog, *values: bytes, timestamp_ms: int = 0) -> BatchHeader:
    batch = encode_batch([(None, value) for value in values], BatchSpec(timestamp_ms=timestamp_ms))
    written = log.append(read_header(batch), batch)
    state = log._state
    assert isinstance(state, Seen)
    state.offsets.append(written.base_offset)
    return written


def offsets(log: PartitionLog, start: int, *, max_bytes: int = 1_000_000, limit: int | None = None) -> list[int]:
    found = log.read(start, max_bytes=max_bytes, limit_offset=log.end_offset if limit is None else limit)
    headers = [header for header, _ in iterate_batches(found.data)]
    assert sum(header.size_bytes for header in headers) == len(found.data)
    if headers:
        assert found.next_offset == headers[-1].next_offset
    return [header.base_offset for header in headers]


def everything(log: PartitionLog) -> list[bytes | None]:
    values: list[bytes | None] = []
    offset = log.start_offset
    while offset < log.end_offset:
        found = log.read(offset, max_bytes=200, limit_offset=log.end_offset)
        for _, batch in iterate_batches(found.data):
            values += [record.value for record in decode_batch(batch)[1]]
        assert found.next_offset > offset
        offset = found.next_offset
    return values


def test_what_is_appended_is_read_with_its_offsets(tmp_path: Path) -> None:
    log = opened(tmp_path)
    assert append(log, b"a", b"b").base_offset == 0
    assert append(log, b"c").base_offset == 2
    assert (log.start_offset, log.end_offset) == (0, 3)
    assert everything(log) == [b"a", b"b", b"c"]


def test_a_read_begins_with_the_batch_that_holds_the_offset(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for _ in range(3):
        append(log, b"a", b"b")
    assert offsets(log, 3) == [2, 4]
    assert offsets(log, 4) == [4]
    assert offsets(log, 6) == []


def test_a_read_stops_at_its_limits_but_gives_one_batch_at_least(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for _ in range(4):
        append(log, b"x" * 100)
    size = read_header(encode_batch([(None, b"x" * 100)], BatchSpec())).size_bytes
    assert offsets(log, 0, max_bytes=1) == [0]
    assert offsets(log, 0, max_bytes=2 * size) == [0, 1]
    assert offsets(log, 0, max_bytes=3 * size - 1) == [0, 1]
    assert offsets(log, 0, limit=3) == [0, 1, 2]
    assert offsets(log, 2, limit=2) == []


def test_a_read_that_need_not_give_one_gives_only_what_fits(tmp_path: Path) -> None:
    log = opened(tmp_path)
    sizes = [append(log, b"x" * 500).size_bytes for _ in range(3)]
    size = sizes[0]
    for max_bytes, given_batches in ((0, 0), (-1, 0), (size - 1, 0), (size, 1), (2 * size + 1, 2), (9 * size, 3)):
        read = log.read(0, max_bytes=max_bytes, limit_offset=3, at_least_one=False)
        assert (len(read.data), read.next_offset) == (given_batches * size, given_batches)


def test_a_read_without_room_does_not_touch_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch of a thousand partitions fills its answer from the first few of them, and asks all the others."""
    log = opened(tmp_path)
    append(log, b"x" * 500)

    def refuse(*_: object) -> bytes:
        raise AssertionError("the file was read")

    monkeypatch.setattr("os.pread", refuse)
    assert log.read(0, max_bytes=0, limit_offset=1, at_least_one=False).data == b""


@pytest.mark.parametrize("segment_bytes", [100, 400, 20_000, 10_000_000])
def test_reads_and_look_ups_cross_segments_and_index_entries(tmp_path: Path, segment_bytes: int) -> None:
    log = opened(tmp_path, segment_bytes=segment_bytes)
    values = [f"{number:04}".encode() * 20 for number in range(800)]
    for number, value in enumerate(values):
        append(log, value, timestamp_ms=1_000 + number)
    for reopened in (log, opened(tmp_path, segment_bytes=segment_bytes)):
        assert everything(reopened) == values
        for start in (0, 1, 399, 798, 799):
            assert offsets(reopened, start, max_bytes=1) == [start]
        for target in (0, 1_000, 1_001, 1_500, 1_799):
            header, _ = next(reopened.batches_from_time(target))
            assert header.max_timestamp_ms == max(target, 1_000)
        assert next(reopened.batches_from_time(1_800), None) is None
        assert reopened.max_timestamp() == (1_799, 799)


def test_a_start_reads_only_what_lies_behind_the_last_checkpoint(tmp_path: Path) -> None:
    log = opened(tmp_path, segment_bytes=300)
    written = [append(log, b"x" * 30, b"y").base_offset for _ in range(10)]
    assert len(list(tmp_path.glob("*.log"))) > 1
    log.close()
    for _ in range(2):
        state = Seen()
        log = opened(tmp_path, segment_bytes=300, state=state)
        assert (log.end_offset, state.offsets) == (20, written)
        assert len(state.replayed) == log.recovered.replayed_batches <= 2
        if not state.replayed:
            break
        log.close()
    assert state.replayed == []


def test_a_log_cut_at_any_byte_recovers_the_whole_batches_before_it(tmp_path: Path) -> None:
    log = opened(tmp_path / "full")
    ends = []
    for number in range(4):
        append(log, b"v%d" % number, b"w")
        ends.append(segment_path(tmp_path / "full", 0).stat().st_size)
    raw = segment_path(tmp_path / "full", 0).read_bytes()
    for size in range(len(raw) + 1):
        folder = tmp_path / f"cut-{size}"
        folder.mkdir()
        segment_path(folder, 0).write_bytes(raw[:size])
        recovered = opened(folder)
        whole = sum(1 for end in ends if end <= size)
        assert recovered.end_offset == 2 * whole
        assert (recovered.torn is None) == (size in (0, *ends))
        if recovered.torn is not None:
            assert recovered.torn.cut_bytes == size - (ends[whole - 1] if whole else 0)
        assert append(recovered, b"after").base_offset == 2 * whole
        assert opened(folder).end_offset == 2 * whole + 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tail=st.binary(min_size=1, max_size=200))
def test_any_torn_garbage_behind_the_last_batch_is_cut(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = opened(folder)
    append(log, b"kept")
    with segment_path(folder, 0).open("ab") as file:
        file.write(tail)
    recovered = opened(folder)
    assert everything(recovered) == [b"kept"]
    assert recovered.torn is not None
    assert recovered.torn.cut_bytes == len(tail)


@pytest.mark.parametrize("at", [0, 9, 16, 30, 61, 70])
def test_damage_with_valid_batches_behind_it_is_reported_with_its_offset(tmp_path: Path, at: int) -> None:
    log = opened(tmp_path)
    sizes = [append(log, b"value").size_bytes for _ in range(3)]
    path = segment_path(tmp_path, 0)
    raw = bytearray(path.read_bytes())
    raw[sizes[0] + at] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(CorruptData, match=r"valid one follows.*byte \d+, offset 1"):
        opened(tmp_path)
    assert path.read_bytes() == bytes(raw)


def test_damage_in_a_closed_segment_is_reported(tmp_path: Path) -> None:
    log = opened(tmp_path, segment_bytes=100)
    for _ in range(3):
        append(log, b"x" * 60)
    path = segment_path(tmp_path, 0)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptData, match=r"128 bytes, 129 were there.*up to offset 0.*byte 128"):
        opened(tmp_path, segment_bytes=100)
    path.with_suffix(".index").unlink()
    with pytest.raises(CorruptData, match=r"does not verify.*broker check"):
        opened(tmp_path, segment_bytes=100)


def test_a_missing_segment_is_reported(tmp_path: Path) -> None:
    log = opened(tmp_path, segment_bytes=100)
    for _ in range(3):
        append(log, b"x" * 60)
    segment_path(tmp_path, 1).unlink()
    with pytest.raises(CorruptData, match="begins at 2, its predecessor ends at 1"):
        opened(tmp_path, segment_bytes=100)
