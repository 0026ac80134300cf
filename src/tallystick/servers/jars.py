"""Java archives by a committed list of checksums.

Owns: the list's format, fetching what the cache lacks, and the verification. Must not know: what the jars do. A jar
enters the cache folder by one atomic rename after its SHA-256 was found right, so a torn download is never used and
two processes may fetch at once.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tallystick.errors import ConfigurationError, CorruptData
from tallystick.servers.process import ServerFailed

if TYPE_CHECKING:
    from jgo.maven import MavenContext

_LINE: Final = re.compile(r"(?P<group>[\w.-]+):(?P<artifact>[\w.-]+):(?P<version>[\w.-]+) (?P<sha256>[0-9a-f]{64})")
_PARALLEL_DOWNLOADS: Final = 8
_ATTEMPTS: Final = 3
_TIMEOUT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Jar:
    """One archive: its Maven coordinates and the SHA-256 of its bytes, in hexadecimal."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def parse_lock(text: str, *, source: str) -> tuple[Jar, ...]:
    """The jars of a lock list; blank lines and lines that start with ``#`` are skipped.

    Raises ``ConfigurationError`` that names ``source`` and the line for anything else.
    """
    jars: list[Jar] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ConfigurationError(f"{source}, line {number}: not 'group:artifact:version sha256': {line!r}")
        jars.append(Jar(match["group"], match["artifact"], match["version"], match["sha256"]))
    return tuple(jars)


def fetch(jars: Sequence[Jar], folder: Path, *, label: str) -> tuple[Path, ...]:
    """Paths of all jars in ``folder``, downloading the missing ones in parallel; no network if none is missing.

    Shows a progress bar on stderr if that is a terminal. Raises ``ServerFailed`` if a download fails three times,
    ``CorruptData`` if its bytes are not the ones of the list.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [jar for jar in jars if not (folder / jar.filename).exists()]
    if missing:
        _download_all(missing, folder, label=label)
    return tuple(folder / jar.filename for jar in jars)


def _download_all(jars: Sequence[Jar], folder: Path, *, label: str) -> None:
    staging = Path(tempfile.mkdtemp(prefix="incoming-", dir=folder))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        context = _maven(staging)
        with (
            Progress(*columns, console=Console(stderr=True), transient=True) as progress,
            ThreadPoolExecutor(_PARALLEL_DOWNLOADS, thread_name_prefix="jars") as pool,
        ):
            task = progress.add_task(label, total=len(jars))
            pending = [pool.submit(_download, context, jar, folder) for jar in jars]
            try:
                for done in as_completed(pending):
                    done.result()
                    progress.advance(task)
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _maven(staging: Path) -> MavenContext:
    try:
        from jgo.maven import MavenContext
    except ModuleNotFoundError as missing:
        raise ConfigurationError(
            "Apache Kafka's jars are not in the cache, and the package 'jgo', which fetches them, is not installed",
            remedy="Run: pip install 'tallystick[servers]'",
        ) from missing
    return MavenContext(repo_cache=staging, timeout=_TIMEOUT_S)


def _download(context: MavenContext, jar: Jar, folder: Path) -> None:
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    partial = artifact.cached_path
    failure: OSError | RuntimeError | None = None
    for _ in range(_ATTEMPTS):
        if partial is not None:
            partial.unlink(missing_ok=True)  # jgo takes a torn file for a finished one
        try:
            path = artifact.resolve()
            break
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; jgo raises RuntimeError for 404
            failure = error
    else:
        raise ServerFailed(
            f"could not download {jar} in {_ATTEMPTS} attempts: {failure}. Is the network, or the proxy, reachable? "
            f"The file may also be put into {folder} by hand"
        ) from failure
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != jar.sha256:
        raise CorruptData(f"{jar} has SHA-256 {digest}, the lock list says {jar.sha256}", place=str(path))
    path.replace(folder / jar.filename)
