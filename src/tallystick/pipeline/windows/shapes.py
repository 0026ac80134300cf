"""The shapes of windows: which windows a moment is in.

Owns: ``Tumbling``, ``Hopping``, ``Session``. Must not know: state, keys, what is aggregated. Times are milliseconds
since 1970, and may be before it; a window has its start and not its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from tallystick.errors import ConfigurationError


def milliseconds(duration: timedelta, what: str, *, least: int = 1) -> int:
    """A duration as whole milliseconds; ``ConfigurationError`` if it is shorter than ``least`` of them."""
    found = duration // timedelta(milliseconds=1)
    if found < least or timedelta(milliseconds=found) != duration:
        raise ConfigurationError(f"{what}={duration} is no whole number of milliseconds from {least} on")
    return found


@dataclass(frozen=True, slots=True)
class Tumbling:
    """Windows of one size, one after the other: a moment is in one of them. They begin at multiples of ``size``."""

    size: timedelta

    @property
    def size_ms(self) -> int:
        return milliseconds(self.size, "size")

    def starts(self, time_ms: int) -> Sequence[int]:
        """The start of the one window that ``time_ms`` is in."""
        return (time_ms - time_ms % self.size_ms,)

    def check(self) -> None:
        milliseconds(self.size, "size")


@dataclass(frozen=True, slots=True)
class Hopping:
    """Windows of one size, a new one every ``advance``: a moment is in ``size / advance`` of them."""

    size: timedelta
    advance: timedelta

    @property
    def size_ms(self) -> int:
        return milliseconds(self.size, "size")

    def starts(self, time_ms: int) -> Sequence[int]:
        """The starts of the windows that ``time_ms`` is in, the oldest first."""
        advance_ms = milliseconds(self.advance, "advance")
        last = time_ms - time_ms % advance_ms
        first = last - (self.size_ms - 1 - time_ms % advance_ms) // advance_ms * advance_ms
        return range(first, last + 1, advance_ms)

    def check(self) -> None:
        if milliseconds(self.advance, "advance") > milliseconds(self.size, "size"):
            raise ConfigurationError(f"windows of {self.size} every {self.advance} would leave moments out")
        if self.size_ms // milliseconds(self.advance, "advance") > _MAX_WINDOWS:
            raise ConfigurationError(f"windows of {self.size} every {self.advance}: a moment is in too many")


@dataclass(frozen=True, slots=True)
class Session:
    """Windows that last while events of their key come less than ``gap`` apart."""

    gap: timedelta

    @property
    def gap_ms(self) -> int:
        return milliseconds(self.gap, "gap")

    def check(self) -> None:
        milliseconds(self.gap, "gap")


_MAX_WINDOWS = 1_000
Shape = Tumbling | Hopping | Session
