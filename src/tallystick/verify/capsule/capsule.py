"""One file: what was asked for, what was seen, what was broken, and the logs that it was seen in.

A zip of ``manifest.json`` (settings, seed, versions, violations, timeline), ``inputs.msgpack`` and ``outputs.msgpack``
(the histories that the oracle judged), ``segments/TOPIC-PARTITION.log`` (record batches) and ``logs/``.
Owns: writing and reading it. Must not know: how a history is judged.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from tallystick.errors import CorruptData
from tallystick.operate.cluster import TopicPartition
from tallystick.verify.oracle import Expected, History, Position, Seen, StableSample, StateCell, TopicView
from tallystick.verify.trial.outcome import Outcome

FORMAT: Final = 1
LOG_BYTES_MAX: Final = 4 * 1024 * 1024
_MANIFEST: Final = "manifest.json"
_ENTRY_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
"""What one entry may unpack to: a file of unknown origin fills no memory."""


class _Plain(msgspec.Struct, frozen=True):
    """A history without what MessagePack has not: keys of two parts, sets."""

    expected: tuple[Expected, ...]
    views: tuple[TopicView, ...]
    rows: tuple[Seen, ...]
    next_offsets: tuple[tuple[str, int, int], ...] | None
    known_aborted: tuple[Position, ...]
    earlier: tuple[TopicView, ...]
    samples: tuple[StableSample, ...]
    stable_limit_ms: int
    states: tuple[StateCell, ...]


@dataclass(frozen=True, slots=True)
class Capsule:
    """A capsule that was read. ``segments`` are the names of its logs; ``read`` gives one."""

    path: Path
    manifest: dict[str, Any]
    inputs: History
    outputs: History
    segments: tuple[str, ...]

    def read(self, name: str) -> bytes:
        """One entry's bytes. ``CorruptData``."""
        with _opened(self.path) as file:
            return _entry(file, name, self.path)


def write_capsule(
    outcome: Outcome, path: Path, *, segments: Iterable[tuple[TopicPartition, bytes, bool]], logs: Path
) -> Path:
    """Write it; ``logs`` is the folder of the workers' logs, of which the ends are kept. Returns ``path``."""
    manifest = {"format": FORMAT, **outcome.to_json(), "segments_cut": []}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("inputs.msgpack", _encode(outcome.input_history))
        file.writestr("outputs.msgpack", _encode(outcome.history))
        for place, log, whole in segments:
            file.writestr(f"segments/{place}.log", log)
            if not whole:
                manifest["segments_cut"].append(str(place))
        for log_path in sorted(logs.glob("*.log")):
            file.writestr(f"logs/{log_path.name}", log_path.read_bytes()[-LOG_BYTES_MAX:])
        file.writestr(_MANIFEST, json.dumps(manifest, indent=2))
    return path


def open_capsule(path: Path) -> Capsule:
    """Read it. ``CorruptData`` for a file that is none, or of a later format."""
    with _opened(path) as file:
        try:
            manifest = json.loads(_entry(file, _MANIFEST, path))
            if manifest["format"] != FORMAT:
                raise CorruptData(f"format {manifest['format']}, and {FORMAT} is known", place=str(path))
            inputs, outputs = (_decode(_entry(file, f"{name}.msgpack", path)) for name in ("inputs", "outputs"))
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptData(f"no capsule: {error}", place=str(path)) from error
        logs = tuple(name for name in file.namelist() if name.startswith("segments/"))
    return Capsule(path, manifest, inputs, outputs, logs)


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise CorruptData(f"no capsule: {error}", place=str(path)) from error


def _entry(file: zipfile.ZipFile, name: str, path: Path) -> bytes:
    info = file.getinfo(name)
    if info.file_size > _ENTRY_BYTES_MAX:
        raise CorruptData(f"{name} has {info.file_size} bytes", place=str(path))
    return file.read(info)


def _encode(history: History) -> bytes:
    offsets = history.next_offsets
    return msgspec.msgpack.encode(
        _Plain(
            expected=history.expected,
            views=history.views,
            rows=history.rows,
            next_offsets=None if offsets is None else tuple((*place, offset) for place, offset in offsets.items()),
            known_aborted=tuple(sorted(history.known_aborted)),
            earlier=history.earlier,
            samples=history.samples,
            stable_limit_ms=history.stable_limit_ms,
            states=history.states,
        )
    )


def _decode(raw: bytes) -> History:
    plain = msgspec.msgpack.decode(raw, type=_Plain)
    offsets = plain.next_offsets
    return History(
        expected=plain.expected,
        views=plain.views,
        rows=plain.rows,
        next_offsets=None if offsets is None else {(topic, part): offset for topic, part, offset in offsets},
        known_aborted=frozenset(plain.known_aborted),
        earlier=plain.earlier,
        samples=plain.samples,
        stable_limit_ms=plain.stable_limit_ms,
        states=plain.states,
    )
