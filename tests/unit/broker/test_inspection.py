"""A check of a data folder finds every damage, calls nothing damage that is none, and changes nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.unit.broker.crash_world import EVERYTHING, TOPICS, folders, world
from tests.unit.broker.in_process import opened
from typer.testing import CliRunner

from tallystick.broker.inspection import Report, Severity, check_folder
from tallystick.broker.inspection.snapshots import producers_in
from tallystick.broker.log.segment_index import read_stored_header
from tallystick.broker.log.state_snapshots import StateSnapshots, read_snapshot
from tallystick.broker.producer_snapshot import ReplayedProducers
from tallystick.broker.producer_state import ProducerStates
from tallystick.cli.main import app
from tallystick.errors import ConfigurationError


@pytest.fixture(scope="module")
def ended() -> Iterator[Path]:
    """A folder with everything in it, after an end in order."""
    with folders() as base:
        with world(base / "data") as made:
            for topic in TOPICS:
                made.node.partitions.create(topic, partition_count=2)
            for step in EVERYTHING:
                made.take(step)
            for _ in range(15):
                made.take(("produce", "a", 0))
            made.take(("start", "t", 2))
            made.take(("write", "t", 2, "a", 0))
        yield base / "data"


@pytest.fixture
def folder(ended: Path, tmp_path: Path) -> Path:
    shutil.copytree(ended, tmp_path / "data")
    return tmp_path / "data"


def files(folder: Path, pattern: str) -> list[Path]:
    found = [file for file in sorted(folder.glob(pattern)) if file.stat().st_size]
    assert found, pattern
    return found


def damage(report: Report) -> list[tuple[str, int, int]]:
    return [(f.file, f.position, f.offset) for f in report.findings if f.severity is Severity.DAMAGE]


def test_a_folder_that_is_whole_has_no_findings_and_is_not_changed(folder: Path) -> None:
    def content() -> dict[Path, tuple[int, bytes]]:
        return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.rglob("*") if file.is_file()}

    before = content()
    report = check_folder(folder)
    assert (report.findings, report.ended_in_order) == ([], True)
    assert (report.topics, report.partitions, report.open_transactions) == (2, 5, 1)
    assert min(report.batches, report.index_rows, report.snapshots, report.producers, report.groups) > 0
    assert report.aborted_transactions > 0
    assert report.segments > report.partitions
    assert content() == before


@pytest.mark.parametrize("pattern", ["topics/*/0/*.log", "topics/*/0/*.index", "topics/*/0/*.txnindex",
                                     "topics/*/0/*.snapshot", "*.journal"])  # fmt: skip
def test_a_flipped_bit_at_any_byte_is_found_in_its_file(folder: Path, pattern: str) -> None:
    for file in files(folder, pattern):
        whole = file.read_bytes()
        for at in range(0, len(whole), max(len(whole) // 100, 1)):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
            report = check_folder(folder)
            found = [f for f in report.findings if f.file == str(file.relative_to(folder))]
            assert found, f"{file}, byte {at}"
            if pattern.endswith(".log"):
                assert report.is_damaged, f"{file}, byte {at}"
                assert any(0 <= f.position <= at for f in found), f"{file}, byte {at}: {found}"
        file.write_bytes(whole)


def test_damage_in_the_middle_is_told_with_file_byte_and_offset_and_the_rest_is_checked(folder: Path) -> None:
    first, second = files(folder, "topics/*/0/*.log")[:2]
    for file in (first, second):
        raw = bytearray(file.read_bytes())
        raw[20] ^= 1
        file.write_bytes(raw)
    found = damage(check_folder(folder))
    for file in (first, second):
        assert (str(file.relative_to(folder)), 0, int(file.stem)) in found


def cut_the_last_segment(folder: Path) -> Path:
    file = files(folder, "topics/*/0/*.log")[-1]
    os.truncate(file, file.stat().st_size - 1)
    return file


def lose_a_journal(folder: Path) -> Path:
    (folder / "topics.journal").unlink()
    return folder / "topics.journal"


def damage_a_journal(folder: Path) -> Path:
    file = folder / "coordinators.journal"
    raw = bytearray(file.read_bytes())
    raw[10] ^= 1
    file.write_bytes(raw)
    return file


@pytest.mark.parametrize("hurt", [cut_the_last_segment, lose_a_journal, damage_a_journal])
def test_what_is_missing_is_damage(folder: Path, hurt: Callable[[Path], Path]) -> None:
    file = hurt(folder)
    assert str(file.relative_to(folder)) in [name for name, _, _ in damage(check_folder(folder))]


def test_a_missing_segment_is_damage(folder: Path) -> None:
    place = max(folder.glob("topics/*/*"), key=lambda place: len(list(place.glob("*.log"))))
    _, lost, following, *_ = sorted(place.glob("*.log"))
    lost.unlink()
    assert (str(following.relative_to(folder)), -1, int(following.stem)) in damage(check_folder(folder))


def test_an_unreadable_segment_is_damage_and_the_rest_is_checked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, really = files(folder, "topics/*/0/*.log")[0], os.open

    def refuse(path: Path, *rest: int) -> int:
        if path == file:
            raise PermissionError(13, "Permission denied")
        return really(path, *rest)

    batches = check_folder(folder).batches
    monkeypatch.setattr(os, "open", refuse)
    report = check_folder(folder)
    told = {finding.file: finding.text for finding in report.findings if finding.severity is Severity.DAMAGE}
    assert told[str(file.relative_to(folder))] == "it cannot be read: Permission denied"
    assert 0 < report.batches < batches


def test_a_folder_that_a_broker_runs_on_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(ConfigurationError, match=r"in use by another broker \(pid \d+\). Stop it"):
        check_folder(tmp_path)


def test_a_folder_that_is_none_is_refused_and_stays_empty(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no data folder"):
        check_folder(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_tells_a_person_and_a_program(folder: Path) -> None:
    done = CliRunner().invoke(app, ["broker", "check", str(folder)])
    assert (done.exit_code, "Everything in it is whole" in done.stdout) == (0, True)
    file = cut_the_last_segment(folder)
    done = CliRunner().invoke(app, ["broker", "check", str(folder)])
    assert (done.exit_code, "damaged" in done.stdout) == (1, True)
    done = CliRunner().invoke(app, ["broker", "check", str(folder), "--json"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["damaged"]) == (1, True)
    assert told["findings"][0]["file"] == str(file.relative_to(folder))


def test_an_index_that_verifies_and_lies_is_damage(folder: Path) -> None:
    file = files(folder, "topics/*/0/*.index")[0]
    header = read_stored_header(file.read_bytes())
    assert header is not None
    lie = replace(header, coverage=header.coverage._replace(max_timestamp_ms=7))
    with file.open("r+b") as handle:
        handle.write(lie.to_bytes())
    assert [name for name, _, _ in damage(check_folder(folder))] == [str(file.relative_to(folder))]


def test_a_snapshot_that_verifies_and_lies_is_damage(folder: Path) -> None:
    file = next(f for f in files(folder, "topics/*/0/*.snapshot") if producers_in(read(f)))
    states = ProducerStates()
    producers = ReplayedProducers(states, "p")
    states.restore([msgspec.structs.replace(entry, producer_epoch=99) for entry in producers_in(read(file)).values()])
    StateSnapshots(file.parent, ()).save(int(file.stem), 0, producers.save())
    (told,) = check_folder(folder).findings
    assert (told.severity, told.file, told.offset) == (
        Severity.DAMAGE,
        str(file.relative_to(folder)),
        int(file.stem),
    )
    assert "has epoch 99" in told.text


def read(snapshot: Path) -> bytes:
    found = read_snapshot(snapshot.read_bytes())
    assert found is not None
    return found[2]
