"""The copy of a data folder, from a cut.

Owns: getting a cut (from the broker that runs, or of a folder at rest), copying, syncing, the order in which the copy
becomes a data folder. Must not know: what is in the files, but one record of the journal.

The format file comes last: a copy that was interrupted is no data folder, and no broker starts on it.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from tallystick.broker.backup.cut import CUT_FILE, REQUEST_FILE, Cut, CutFile
from tallystick.broker.backup.producer_ids import skip_producer_ids
from tallystick.broker.log.boots import boot_id
from tallystick.broker.log.data_folder import FORMAT_FILE, RUN_FILE, FolderInUse, Run, looked_at
from tallystick.broker.log.durability import sync_folder
from tallystick.errors import ConfigurationError, RetriableError, TallystickError

ANSWER_TIMEOUT_S: Final = 30.0
"""A broker looks for a request every 50 ms, unless it is very busy."""
ATTEMPTS: Final = 3
_LOOK_EVERY_S: Final = 0.02
_CHUNK_BYTES: Final = 4 * 1024 * 1024

OnBytes = Callable[[int], None]


class FolderChanged(RetriableError):
    """A file of the cut is not what it was: retention, compaction or a deleted topic was faster."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What was copied. ``online``: a broker ran on the folder meanwhile."""

    online: bool
    files: int
    size_bytes: int


def _nobody(_: int) -> None:
    """Nobody looks at a progress bar."""


def back_up(data: Path, to: Path, *, on_total: OnBytes = _nobody, on_bytes: OnBytes = _nobody) -> Backup:
    """Copy the data folder to ``to``, which must be empty or not there.

    ``ConfigurationError``: ``data`` is no data folder, or ``to`` is taken; ``OSError``: the disk is full or fails;
    ``TallystickError``: the broker gave no cut, or the folder changed too often.
    """
    if to.resolve().is_relative_to(data.resolve()):
        raise ConfigurationError(f"{to} lies in the data folder itself")
    if to.exists() and any(to.iterdir()):
        raise ConfigurationError(f"{to} is not empty", remedy="Name a folder that is not there yet.")
    for _ in range(ATTEMPTS):
        try:
            with looked_at(data):
                return copy_cut(data, to, _cut_at_rest(data), online=False, on_total=on_total, on_bytes=on_bytes)
        except FolderInUse:
            pass
        try:
            return copy_cut(data, to, _asked_cut(data), online=True, on_total=on_total, on_bytes=on_bytes)
        except FolderChanged:
            _empty(to)
    raise TallystickError(f"files of {data} were replaced {ATTEMPTS} times while they were copied: try again later")


def _cut_at_rest(data: Path) -> Cut:
    kept = [*data.glob("*.journal"), *(path for path in data.glob("topics/*/*/*") if path.is_file())]
    files = [CutFile(str(path.relative_to(data)), path.stat().st_ino, path.stat().st_size) for path in sorted(kept)]
    return Cut("", tuple(files))


def _asked_cut(data: Path) -> Cut:
    request, answer = data / REQUEST_FILE, data / CUT_FILE
    name = uuid.uuid4().hex
    draft = request.with_suffix(f".{name}")
    draft.write_text(name)
    draft.replace(request)
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    try:
        while time.monotonic() < deadline:
            try:
                cut = msgspec.json.decode(answer.read_bytes(), type=Cut)
            except FileNotFoundError:
                cut = None
            if cut is not None and cut.request == name:
                answer.unlink(missing_ok=True)
                return cut
            time.sleep(_LOOK_EVERY_S)
    finally:
        request.unlink(missing_ok=True)
    raise TallystickError(
        f"the broker on {data} did not answer within {ANSWER_TIMEOUT_S:.0f} s: it is of another version, it hangs, its "
        "disk is full, or another backup began"
    )


def copy_cut(
    data: Path, to: Path, cut: Cut, *, online: bool, on_total: OnBytes = _nobody, on_bytes: OnBytes = _nobody
) -> Backup:
    """Copy the files of the cut, as long as they were. ``FolderChanged``: one was replaced since."""
    total = sum(file.size_bytes for file in cut.files)
    on_total(total)
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    (to / "topics").mkdir(exist_ok=True)
    for file in cut.files:
        target = to / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy_file(data / file.path, target, file)
        on_bytes(file.size_bytes)
    skip_producer_ids(to / "coordinators.journal")
    _write(to / RUN_FILE, msgspec.json.encode(Run(boot_id().hex(), clean=False)))
    for folder in sorted({path.parent for path in to.rglob("*")}, reverse=True):
        sync_folder(folder)
    _write(to / FORMAT_FILE, (data / FORMAT_FILE).read_bytes())
    sync_folder(to)
    sync_folder(to.parent)
    return Backup(online, len(cut.files), total)


def _copy_file(source: Path, target: Path, file: CutFile) -> None:
    try:
        read_fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as gone:
        raise FolderChanged(f"{file.path} is gone") from gone
    try:
        write_fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(read_fd).st_ino != file.inode:
                raise FolderChanged(f"{file.path} is another file")
            _copy_bytes(read_fd, write_fd, file)
            os.fsync(write_fd)
        finally:
            os.close(write_fd)
    finally:
        os.close(read_fd)


def _copy_bytes(read_fd: int, write_fd: int, file: CutFile) -> None:
    left = file.size_bytes
    while left:
        data = os.read(read_fd, min(left, _CHUNK_BYTES))
        if not data:
            raise FolderChanged(f"{file.path} is shorter")
        left -= len(data)
        while data:
            data = data[os.write(write_fd, data) :]


def _write(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)


def _empty(folder: Path) -> None:
    """Of what this backup put there."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
