"""One thing that is known of an event: when, where, what.

Owns: the value and the order of the timeline. Must not know: who found it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """``at_ms`` is milliseconds since 1970, None for what has no time of its own. ``event_id`` says whose it is."""

    at_ms: int | None
    event_id: str
    place: str
    text: str


def in_order(moments: list[Moment]) -> list[Moment]:
    """By time; what has none at the end, as found."""
    return sorted(moments, key=lambda moment: (moment.at_ms is None, moment.at_ms or 0))
