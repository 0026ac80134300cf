"""A disk that is full, read-only, taken, unreadable or broken: a clear error, and nothing lost."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.support.disk_trace import Change, traced
from tests.support.wire_producer import WireProducer
from tests.unit.broker.crash_world import (
    EVERYTHING,
    SMALL_SEGMENTS,
    TOPICS,
    WITHOUT_SHRINKING,
    check_settled,
    folders,
    recovered,
    state_of,
    world,
)
from tests.unit.broker.in_process import InProcess, opened

from tallystick.broker.node import Node
from tallystick.errors import ConfigurationError, CorruptData
from tallystick.wire.errors import ApiError

TAKES_SPACE = {"pwrite", "pwritev", "mkdir", "create", "replace"}


class FullDisk:
    """Every change that takes space is refused from number ``first`` on, ``count`` times."""

    def __init__(self, first: int, count: int) -> None:
        self.refused = range(first, first + count)
        self.changes = 0
        self.listening = False
        self.told: list[str] = []

    def __call__(self, change: Change) -> None:
        if self.listening and change.call in TAKES_SPACE:
            self.changes += 1
            if self.changes in self.refused:
                self.told.append(f"{change.call} {change.path.name}")
                raise OSError(errno.ENOSPC, "No space left on device")


def run(folder: Path, disk: FullDisk) -> None:
    """A run with everything over this disk; at its end a start finds what was live."""
    with traced(folder, disk), world(folder) as made:
        for topic in TOPICS:
            made.node.partitions.create(topic, partition_count=2)
        disk.listening = True
        for step in EVERYTHING:
            if step != ("restart",):  # a start on a full disk is another test
                made.take(step)
        disk.listening = False
        live = state_of(made.node)
    with recovered(folder) as (found, node):
        assert found == live, disk.told
        check_settled(node)


def test_a_full_disk_at_any_write_is_an_error_to_one_request_and_nothing_is_lost() -> None:
    with folders() as base:
        disk = FullDisk(0, 0)
        run(base / "sizing", disk)
        assert disk.changes > 90
        for first in range(1, disk.changes + 1):
            refusing = FullDisk(first, 1)
            run(base / str(first), refusing)
            assert refusing.told


@given(st.integers(1, 90), st.integers(2, 60))
@settings(max_examples=15, deadline=None, phases=WITHOUT_SHRINKING, suppress_health_check=[HealthCheck.too_slow])
def test_a_disk_that_stays_full_for_a_while_loses_nothing(first: int, count: int) -> None:
    with folders() as base:
        run(base / "data", FullDisk(first, count))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with opened(tmp_path / "data", log_settings=SMALL_SEGMENTS) as made:
        made.partitions.create("t", partition_count=2)
        yield made


def producer(node: Node) -> WireProducer:
    made = WireProducer(InProcess(node), None, patient=False)
    assert made.init() == "none"
    return made


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, number: int, *, only: str | tuple[str, ...] = "") -> None:
    """``os``'s function fails from now on, for paths that end so."""
    really = getattr(os, name)

    def fail(path: Any, *rest: Any, **named: Any) -> Any:
        if str(path).endswith(only):
            raise OSError(number, os.strerror(number), str(path))
        return really(path, *rest, **named)

    monkeypatch.setattr(os, name, fail)


def test_a_full_disk_answers_kafka_storage_error_and_the_next_record_follows_without_a_gap(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = producer(node)
    assert writer.produce("t", b"1", transactional=False) == ("none", 0)
    with monkeypatch.context() as full, capture_logs() as told:
        refuse(full, "pwritev", errno.ENOSPC)
        assert writer.produce("t", b"2", transactional=False)[0] == "kafka_storage_error"
    assert ("the log cannot be written", "t", 0) in [(row["event"], row["topic"], row["partition"]) for row in told]
    assert writer.produce("t", b"2", transactional=False) == ("none", 1)


FULL: dict[str, str | tuple[str, ...]] = {"mkdir": ("/1", "/3"), "open": ".log", "pwritev": ""}
"""What fails when a second partition's folder, its file, or the journal's record finds no space."""


@pytest.mark.parametrize("call", FULL)
def test_a_topic_that_finds_no_space_is_not_there_and_can_be_made_later(
    node: Node, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    before = sorted(node.folder.topics.rglob("*"))
    with monkeypatch.context() as full:
        refuse(full, call, errno.ENOSPC, only=FULL[call])
        with pytest.raises(ApiError) as told:
            node.partitions.create("new", partition_count=2)
        assert told.value.code.name == "kafka_storage_error"
        with pytest.raises(ApiError) as told:
            node.partitions.grow("t", partition_count=4)
        assert told.value.code.name == "kafka_storage_error"
    assert sorted(node.folder.topics.rglob("*")) == before
    assert not node.partitions.exists("new", 0)
    assert not node.partitions.exists("t", 2)
    node.partitions.create("new", partition_count=2)
    node.partitions.grow("t", partition_count=4)


def test_a_read_only_folder_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path):
        pass
    refuse(monkeypatch, "open", errno.EROFS, only=".lock")
    with (
        pytest.raises(ConfigurationError, match=rf"{tmp_path} cannot be written: Read-only file system"),
        opened(tmp_path),
    ):
        pass


def test_a_second_broker_on_a_folder_is_refused_with_the_first_ones_process_id(tmp_path: Path) -> None:
    with opened(tmp_path):
        command = [sys.executable, "-m", "tallystick.broker", "--data", str(tmp_path), "--listen", "127.0.0.1:0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"tallystick broker: the data folder {tmp_path} is in use by another broker (pid {os.getpid()}). "
        "Stop that one, or give this one a folder of its own.\n"
    )


def filled(folder: Path) -> list[Path]:
    """A folder that ended in order, with several segments in t-0 and a record in t-1; the segments of t-0."""
    with opened(folder, log_settings=SMALL_SEGMENTS) as node:
        node.partitions.create("t", partition_count=2)
        writer = producer(node)
        for number in range(20):
            writer.produce("t", b"%d" % number, transactional=False)
        writer.produce("t", b"other", partition=1, transactional=False)
        partition = node.partitions.partition("t", 0)
        assert partition is not None
        return [segment.path for segment in partition.log.segments]


def test_an_unreadable_segment_is_refused_at_a_start_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable = filled(tmp_path)[1]
    with monkeypatch.context() as patch:
        refuse(patch, "open", errno.EACCES, only=str(unreadable))
        with pytest.raises(CorruptData, match=rf"Permission denied: '{unreadable}'"), opened(tmp_path):
            pass
    with opened(tmp_path) as node:
        assert fetched(node, 0, offset=int(unreadable.stem)) == "none"


def test_a_segment_that_becomes_unreadable_fails_its_partition_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable = filled(tmp_path)[1]
    with opened(tmp_path, log_settings=SMALL_SEGMENTS) as node, capture_logs() as told:
        refuse(monkeypatch, "open", errno.EACCES, only=str(unreadable))
        assert fetched(node, 0, offset=int(unreadable.stem)) == "kafka_storage_error"
        assert fetched(node, 0, offset=0) == "none"
        assert fetched(node, 1, offset=0) == "none"
        assert producer(node).produce("t", b"new", transactional=False) == ("none", 20)
    assert str(unreadable) in told[0]["reason"]


def fetched(node: Node, partition: int, *, offset: int) -> str:
    found = node.partitions.partition("t", partition)
    assert found is not None
    try:
        assert found.read(offset, max_bytes=1, committed_only=False).data
    except ApiError as error:
        return error.code.name
    return "none"


def test_damage_in_an_old_segment_fails_reads_there_with_file_byte_and_offset_and_no_others(tmp_path: Path) -> None:
    damaged = filled(tmp_path)[1]
    raw = bytearray(damaged.read_bytes())
    second = int.from_bytes(raw[8:12], "big") + 12
    raw[second + 16] ^= 0x40  # the format version
    damaged.write_bytes(raw)
    offset = int(damaged.stem) + 1
    with opened(tmp_path, log_settings=SMALL_SEGMENTS) as node, capture_logs() as told:
        assert fetched(node, 0, offset=offset) == "kafka_storage_error"
        assert [fetched(node, 0, offset=known) for known in (0, offset - 1)] == ["none", "none"]
        assert fetched(node, 1, offset=0) == "none"
        assert producer(node).produce("t", b"new", transactional=False) == ("none", 20)
    assert (told[0]["topic"], told[0]["partition"], told[0]["offset"]) == ("t", 0, offset)
    assert f"{damaged}, byte {second}" in told[0]["reason"]


def test_no_damaged_byte_of_an_old_segment_reaches_a_reader(tmp_path: Path) -> None:
    damaged = filled(tmp_path)[1]
    raw = damaged.read_bytes()
    first = int.from_bytes(raw[8:12], "big") + 12
    for at in range(8, len(raw) - first):  # the last one is looked at by a start
        if at % first < 8 or 12 <= at % first < 16:
            continue  # base offset and leader epoch have no checksum: `check` finds these
        damaged.write_bytes(raw[:at] + bytes([raw[at] ^ 0x21]) + raw[at + 1 :])
        with opened(tmp_path, log_settings=SMALL_SEGMENTS) as node, capture_logs():
            partition = node.partitions.partition("t", 0)
            assert partition is not None
            offset, read = int(damaged.stem), b""
            with contextlib.suppress(ApiError):
                while offset < int(damaged.stem) + 5:
                    found = partition.read(offset, max_bytes=1 << 20, committed_only=False)
                    read, offset = read + found.data, found.next_offset
            assert read == raw[: at // first * first], at
