"""Event time in one partition: how far it is, kept in the state, so that a replay sees the same.

Owns: ``Timeline``, the two errors about times, and how times lie in a timed store. Must not know: windows, joins.

Stream time is the greatest time that any event of the partition had. It is an entry of the store: an abort takes it
back, and a restart finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Final

import msgspec

from tallystick.pipeline.context import Context, Emit
from tallystick.pipeline.records import UNSTAMPED
from tallystick.pipeline.state import Layers

TimeOf = Callable[[Any], int]
"""An event's time in milliseconds since 1970; without one it is the record's timestamp."""

NEVER: Final = (1 << 63) - 1
_KEY: Final = b"t"
_SIGN: Final = 1 << 63


class LateEvent(ValueError):
    """The event's windows are closed: its step does not count it (see ``Late``)."""


class TimeJump(ValueError):
    """The event's time is further ahead than the step allows: it would close everything before it."""


class Late(Enum):
    """What becomes of an event whose windows are closed. Each is counted."""

    DEAD_LETTER = "dead-letter"
    """It goes to the step's dead-letter topic."""
    DROP = "drop"
    """It is left out."""


class Timeline:
    """Stream time of one timed store in the record's partition."""

    __slots__ = ("_max_jump_ms",)

    def __init__(self, max_jump_ms: int | None) -> None:
        self._max_jump_ms = max_jump_ms

    def advance(self, layers: Layers, time_ms: int) -> int:
        """Stream time after an event of ``time_ms``; ``TimeJump`` if it is too far ahead."""
        stored = layers.get(_KEY)
        if stored is None:
            now = time_ms
        else:
            now = int.from_bytes(stored[8:], "big", signed=True)
            if time_ms <= now:
                return now
            if self._max_jump_ms is not None and time_ms - now > self._max_jump_ms:
                raise TimeJump(f"the event is {time_ms - now} ms ahead of its partition, max_jump allows fewer")
        layers.set(_KEY, timed(NEVER, time_ms.to_bytes(8, "big", signed=True)))
        return time_ms

    def read(self, layers: Layers) -> int | None:
        """Stream time, None before the first event."""
        stored = layers.get(_KEY)
        return None if stored is None else int.from_bytes(stored[8:], "big", signed=True)


def event_time(event: Any, context: Context, time: TimeOf | None) -> int:
    """The event's own time, or its record's."""
    return context.record.timestamp_ms if time is None else time(event)


def stamped(emits: Iterable[Emit], time_ms: int) -> list[Emit]:
    """The emits, with this timestamp unless they have one. What is before 1970 cannot be written, and is left alone."""
    if time_ms <= UNSTAMPED:
        return list(emits)
    return [
        one if one.timestamp_ms is not None else msgspec.structs.replace(one, timestamp_ms=time_ms) for one in emits
    ]


def timed(time_ms: int, payload: bytes) -> bytes:
    """A value of a timed store, which is due at ``time_ms``."""
    return min(time_ms, NEVER).to_bytes(8, "big", signed=True) + payload


def sortable(number: int) -> bytes:
    """Eight bytes that sort as signed numbers do."""
    return (number + _SIGN).to_bytes(8, "big")


def unsortable(raw: bytes) -> int:
    return int.from_bytes(raw, "big") - _SIGN
