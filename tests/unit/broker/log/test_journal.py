"""The journal: what was appended is replayed, a torn tail is cut, damage is reported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.log.durability import Durability
from tallystick.broker.log.journal import FileJournal
from tallystick.broker.ports import JournalRecord
from tallystick.errors import CorruptData, TallystickError


class Noted(JournalRecord, frozen=True, tag="noted"):
    text: str
    raw: bytes = b""


class Counted(JournalRecord, frozen=True, tag="counted"):
    number: int


Either = Noted | Counted
RECORDS: list[Either] = [Noted("a", b"\x00\xff"), Counted(1), Noted("b"), Counted(2)]


OPEN: list[FileJournal[Either]] = []


def opened(path: Path) -> tuple[FileJournal[Either], list[Either]]:
    journal: FileJournal[Either] = FileJournal(path, Either, Durability(FsyncPolicy.NEVER))
    OPEN.append(journal)
    return journal, list(journal.replay())


@pytest.fixture(autouse=True)
def close_journals() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def written(path: Path) -> list[int]:
    """The records in a fresh journal; the file's size after each."""
    journal, found = opened(path)
    assert found == []
    sizes = []
    for record in RECORDS:
        journal.append(record)
        sizes.append(path.stat().st_size)
    journal.close()
    return sizes


def test_records_are_replayed_in_order(tmp_path: Path) -> None:
    written(tmp_path / "j")
    journal, found = opened(tmp_path / "j")
    assert found == RECORDS
    journal.append(Counted(3))
    assert opened(tmp_path / "j")[1] == [*RECORDS, Counted(3)]


def test_a_record_that_was_taken_back_never_was(tmp_path: Path) -> None:
    sizes = written(tmp_path / "j")
    journal, _ = opened(tmp_path / "j")
    journal.append(Noted("cannot be applied", bytes(100)))
    journal.take_back()
    assert (
        (journal.size_bytes, journal.record_count) == (sizes[-1], len(RECORDS)) == ((tmp_path / "j").stat().st_size, 4)
    )
    journal.append(Counted(3))
    assert opened(tmp_path / "j")[1] == [*RECORDS, Counted(3)]


def test_a_journal_cut_at_any_byte_replays_the_whole_records_before_it(tmp_path: Path) -> None:
    sizes = written(tmp_path / "full")
    raw = (tmp_path / "full").read_bytes()
    for size in range(len(raw) + 1):
        path = tmp_path / f"cut-{size}"
        path.write_bytes(raw[:size])
        journal, found = opened(path)
        whole = sum(1 for end in sizes if end <= size)
        assert found == RECORDS[:whole]
        assert (journal.torn is None) == (size in (0, *sizes))
        journal.append(Counted(9))
        journal.close()
        assert opened(path)[1] == [*RECORDS[:whole], Counted(9)]


def test_a_tail_of_zeros_is_cut(tmp_path: Path) -> None:
    written(tmp_path / "j")
    with (tmp_path / "j").open("ab") as file:
        file.write(bytes(100))
    journal, found = opened(tmp_path / "j")
    assert found == RECORDS
    assert journal.torn is not None
    assert journal.torn.cut_bytes == 100


def test_damage_with_valid_records_behind_it_is_reported(tmp_path: Path) -> None:
    sizes = written(tmp_path / "j")
    raw = bytearray((tmp_path / "j").read_bytes())
    for at in (sizes[0], sizes[0] + 5, sizes[1] - 1):
        damaged = bytearray(raw)
        damaged[at] ^= 0x55
        (tmp_path / "d").write_bytes(damaged)
        with pytest.raises(CorruptData, match=f"byte {sizes[0]}"):
            opened(tmp_path / "d")
        assert (tmp_path / "d").read_bytes() == bytes(damaged)


def test_compaction_replaces_the_file_and_appending_goes_on(tmp_path: Path) -> None:
    written(tmp_path / "j")
    journal, _ = opened(tmp_path / "j")
    journal.compact([Noted("snapshot")])
    journal.append(Counted(7))
    assert opened(tmp_path / "j")[1] == [Noted("snapshot"), Counted(7)]
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


def test_a_full_disk_raises_and_writes_nothing(tmp_path: Path) -> None:
    written(tmp_path / "j")
    journal, _ = opened(tmp_path / "j")
    real = journal._file.fd
    with Path("/dev/full").open("wb") as full:
        journal._file.fd = full.fileno()
        with pytest.raises(OSError, match="No space left"):
            journal.append(Counted(5))
    journal._file.fd = real
    journal.append(Counted(6))
    assert opened(tmp_path / "j")[1] == [*RECORDS, Counted(6)]


def test_appending_before_the_replay_is_a_mistake(tmp_path: Path) -> None:
    journal: FileJournal[Either] = FileJournal(tmp_path / "j", Either, Durability(FsyncPolicy.NEVER))
    OPEN.append(journal)
    with pytest.raises(TallystickError, match="before it was replayed"):
        journal.append(Counted(1))
