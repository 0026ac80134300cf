"""Corrections: what a replay writes, and how their readers tell them from what they correct.

Owns: three headers and the id of a correction, all frozen, and the digest by which two payloads are compared. Must not
know: Kafka's client, how the payloads came about.

A changed output gets an id of its own: under the one it had, an inbox downstream would take it for a conflict, and a
deduplication would drop it. The id is derived from the original's, the replay's name and the revision, so that whoever
makes the same correction gives it the same id. A new output was never told: it has the id that the step gives it, so
that whoever knows it already counts it once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import msgspec

from tallystick.ids import EventId, derived_id, parse_event_id
from tallystick.pipeline.records import Headers, Output

REPLAY_HEADER: Final = "tallystick-replay"
"""On all that a replay writes: its name."""
REPLACES_HEADER: Final = "tallystick-replaces"
"""On a correction: the event id of the original, also if that was corrected before."""
REVISION_HEADER: Final = "tallystick-revision"
"""On a correction: 1 for the first of its original, and so on."""

_OURS: Final = "tallystick-"
_TRACES: Final = frozenset({"traceparent", "tracestate", "baggage"})


@dataclass(frozen=True, slots=True)
class Marks:
    """What the headers of a record say about corrections. ``original`` is its own id unless it is one."""

    original: EventId
    revision: int
    replay: str | None

    @classmethod
    def of(cls, event_id: EventId, headers: Headers) -> Marks:
        """Headers that are not as a replay writes them are taken for another program's."""
        found = dict(headers)
        replay = found[REPLAY_HEADER].decode(errors="replace") if REPLAY_HEADER in found else None
        try:
            return cls(parse_event_id(found[REPLACES_HEADER]), int(found[REVISION_HEADER]), replay)
        except (KeyError, ValueError):
            return cls(event_id, 0, replay)


def digest(topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> bytes:
    """What makes a payload another one: topic, key, value, and the headers that are the application's."""
    hasher = hashlib.blake2b(digest_size=16)
    kept = [header for header in headers if not header[0].startswith(_OURS) and header[0] not in _TRACES]
    hasher.update(msgspec.msgpack.encode((topic, key, value, kept)))
    return hasher.digest()


def correction(output: Output, *, replay: str, revision: int) -> Output:
    """The output as what replaces the one that has its id."""
    headers = (
        *output.headers,
        (REPLAY_HEADER, replay.encode()),
        (REPLACES_HEADER, output.event_id.encode()),
        (REVISION_HEADER, b"%d" % revision),
    )
    return msgspec.structs.replace(
        output, event_id=derived_id(output.event_id, f"replay.{replay}", revision), headers=headers
    )


def told_late(output: Output, *, replay: str) -> Output:
    """An output that was never written, under its own id."""
    return msgspec.structs.replace(output, headers=(*output.headers, (REPLAY_HEADER, replay.encode())))
