"""Whether workers are well, as a verdict with its reasons.

Owns: the limits. Must not know: processes, HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tallystick.pipeline.observation.view import View

STALE_AFTER_S: Final = 10.0
"""A worker writes its view each second, from a thread that waits for nothing."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot as its supervisor sees it. ``how`` says how the last process ended, None if none has."""

    is_running: bool
    restarts: int
    how: str | None
    running_for_s: float


def complaints(slots: Mapping[str, Slot], views: Mapping[str, View | None], *, now_ms: int) -> list[str]:
    """What is wrong, each in a sentence; empty if all is well. ``now_ms`` is since the epoch."""
    found = []
    for name, slot in slots.items():
        view = views.get(name)
        if not slot.is_running:
            found.append(f"slot {name} has no process: {slot.how or 'it has not started yet'}")
        elif view is None or (now_ms - view.at_ms) / 1000 > STALE_AFTER_S:
            if slot.running_for_s > STALE_AFTER_S:
                found.append(f"slot {name} has told nothing for {STALE_AFTER_S:.0f} s")
        else:
            found.extend(
                f"step {step.step} of slot {name} has not polled for {step.turn_age_s:.0f} s, "
                f"and max.poll.interval.ms is {step.turn_limit_s * 1000:.0f}"
                for step in view.steps
                if step.turn_age_s > step.turn_limit_s
            )
    return found
