"""A cut through a data folder: the files that count, and how many bytes of each, all at one moment.

Owns: the cut's form, how one is asked for and answered. Must not know: how files are copied.

Files only grow, and the broker makes a cut between two requests. So whoever copies that many bytes of each file has the
folder as ``kill -9`` at that moment would have left it, however long the copying takes. Who asks puts a file into the
folder; who may do that may read everything in it anyway.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from tallystick.broker.log.files import replace_file
from tallystick.broker.log.partition_log import PartitionLog
from tallystick.broker.log.state_snapshots import snapshot_path

logger = structlog.get_logger(__name__)

REQUEST_FILE: Final = "tallystick-backup.request"
CUT_FILE: Final = "tallystick-backup.cut"


class CutFile(msgspec.Struct, frozen=True):
    """``path`` is relative to the folder. ``inode`` tells when another file has taken its place since."""

    path: str
    inode: int
    size_bytes: int


class Cut(msgspec.Struct, frozen=True):
    """``request`` is the text of the request that it answers."""

    request: str
    files: tuple[CutFile, ...]


def cut_of(folder: Path, logs: Iterable[PartitionLog], *, request: str) -> Cut:
    """The cut at this moment. Nothing may be written while this runs.

    Of the segment that is appended to there is no index in it: that would cover more, once it is copied.
    """
    files = [_measured(folder, journal, journal.stat().st_size) for journal in sorted(folder.glob("*.journal"))]
    for log in logs:
        for segment in log.segments:
            files.append(_measured(folder, segment.path, segment.size_bytes))
            sidecars = [snapshot_path(log.folder, segment.base_offset)]
            if segment is not log.segments[-1]:
                sidecars += [segment.index.path, segment.index.aborted_path]
            files += [_measured(folder, path, path.stat().st_size) for path in sidecars if path.exists()]
    return Cut(request, tuple(files))


def _measured(folder: Path, path: Path, size_bytes: int) -> CutFile:
    return CutFile(str(path.relative_to(folder)), path.stat().st_ino, size_bytes)


class Cuts:
    """Answers requests for a cut; ``tick`` looks for one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._request = str(folder / REQUEST_FILE)

    def tick(self, logs: Iterable[PartitionLog]) -> None:
        """Answer the request that lies in the folder, if one does."""
        if not os.path.exists(self._request):  # noqa: PTH110 - called every 50 ms
            return
        try:
            request = Path(self._request).read_text(encoding="utf-8", errors="replace")
            cut = cut_of(self._folder, logs, request=request)
            replace_file(self._folder / CUT_FILE, [msgspec.json.encode(cut)])
            Path(self._request).unlink(missing_ok=True)
        except OSError as error:
            logger.warning("a backup cannot begin", reason=str(error))
            return
        logger.info("a backup begins", files=len(cut.files), bytes=sum(file.size_bytes for file in cut.files))
