"""The local copy: entries and position together or not at all, and nothing foreign."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tallystick import killpoints
from tallystick.errors import CorruptData
from tallystick.pipeline.state import local_file
from tallystick.pipeline.state.local_file import LocalFile, Mark, Origin, Proof

MARK = Mark(Origin("cluster", "topic-id", "topic", 0), 7, Proof(6, b"token"), 1000)


def opened(folder: Path, **stores: bool) -> LocalFile:
    return LocalFile(folder / "0.sqlite", stores or {"s": False})


def test_entries_and_mark_are_there_again(tmp_path: Path) -> None:
    file = opened(tmp_path)
    file.write([("s", [(b"a", b"1"), (b"b", b"2")], MARK)])
    file.write([("s", [(b"a", None)], MARK)])
    file.close()
    again = opened(tmp_path)
    assert again.base("s").scan(b"", None) == [(b"b", b"2")]
    assert again.mark("s") == MARK
    again.close()


def test_a_kill_inside_a_write_leaves_entries_and_mark_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(name: str) -> None:
        if name == local_file.IN_FLUSH:
            raise Killed

    file = opened(tmp_path)
    file.write([("s", [(b"a", b"1")], MARK)])
    monkeypatch.setattr(local_file, "reach", kill)
    with pytest.raises(Killed):
        file.write([("s", [(b"a", b"2"), (b"b", b"2")], msgspec.structs.replace(MARK, position=9))])
    file.close()  # as the kernel does it
    monkeypatch.setattr(local_file, "reach", killpoints.reach)
    again = opened(tmp_path)
    assert again.base("s").scan(b"", None) == [(b"a", b"1")]
    assert again.mark("s") == MARK
    again.close()


@pytest.mark.parametrize("stores", [{"s": True}, {"other": False}, {"s": False, "more": False}])
def test_a_file_of_other_stores_is_emptied(tmp_path: Path, stores: dict[str, bool]) -> None:
    file = opened(tmp_path)
    file.write([("s", [(b"a", b"1")], MARK)])
    file.close()
    again = opened(tmp_path, **stores)
    assert all(again.mark(name) is None and again.base(name).scan(b"", None) == [] for name in stores)
    again.close()


def test_a_file_that_is_no_database_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "0.sqlite").write_bytes(b"this is not a database file, and longer than its header is" * 100)
    file = opened(tmp_path)
    assert file.mark("s") is None
    file.close()


def test_a_file_that_turns_out_to_be_damaged_is_removed_and_said(tmp_path: Path) -> None:
    file = opened(tmp_path)
    file.write([("s", [(b"%06d" % number, b"v" * 200) for number in range(2000)], MARK)])
    file.close()
    path = tmp_path / "0.sqlite"
    raw = bytearray(path.read_bytes())
    raw[8192:] = b"\xff" * (len(raw) - 8192)
    path.write_bytes(raw)
    again = opened(tmp_path)
    with pytest.raises(CorruptData, match="removed"):
        again.base("s").scan(b"", None)
    assert not path.exists()
