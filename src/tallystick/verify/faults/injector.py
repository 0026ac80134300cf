"""Drives strikes: begins what is due, goes on with what waits, heals all at the end.

Owns: which faults are on right now. Must not know: what a fault does. One thread calls it.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tallystick.verify.faults.fault import Draw, Fault, Steps, World
from tallystick.verify.faults.specs import Strike


@dataclass(slots=True)
class _Active:
    fault: Fault
    steps: Steps
    moment: int
    wake_s: float


@dataclass(slots=True)
class Injector:
    """``now_s`` in ``step`` counts from the beginning, as the strikes of the plan do."""

    strikes: Sequence[Strike]
    faults: Mapping[str, Fault]
    world: World
    seed: int
    struck: Counter[str] = field(default_factory=Counter)
    _waiting: deque[Strike] = field(default_factory=deque)
    _active: list[_Active] = field(default_factory=list)
    _begun: int = 0

    def step(self, now_s: float) -> None:
        """Begin what is due and go on with what has waited long enough."""
        while self._begun < len(self.strikes) and self.strikes[self._begun].at_s <= now_s:
            self._waiting.append(self.strikes[self._begun])
            self._begun += 1
        for _ in range(len(self._waiting)):
            strike = self._waiting.popleft()
            if any(active.fault.touches == self.faults[strike.name].touches for active in self._active):
                self._waiting.append(strike)  # what it breaks is broken already: later
            else:
                self._begin(strike, now_s)
        for active in tuple(self._active):
            if active.wake_s <= now_s:
                self._advance(active, now_s)

    def heal(self) -> None:
        """End everything now; what has not begun never will."""
        self._waiting.clear()
        self._begun = len(self.strikes)
        for active in self._active:
            close = getattr(active.steps, "close", None)
            if close is not None:
                close()
            self.world.timeline.end(active.moment)
        self._active.clear()

    @property
    def active(self) -> tuple[str, ...]:
        """The names of what is broken now."""
        return tuple(active.fault.name for active in self._active)

    @property
    def late(self) -> tuple[str, ...]:
        """The names of what is due, has to wait for its turn, and has not struck a single time yet."""
        return tuple(strike.name for strike in self._waiting if not self.struck[strike.name])

    def _begin(self, strike: Strike, now_s: float) -> None:
        fault = self.faults[strike.name]
        chance = random.Random(f"{self.seed} {strike.name} {self.struck[strike.name]}")  # noqa: S311 - repeatable
        text = f"{strike.name}:{strike.argument}" if strike.argument else strike.name
        self.struck[strike.name] += 1
        moment = self.world.timeline.note("faults", text)
        active = _Active(fault, fault.strike(self.world, Draw(chance, strike.argument)), moment, now_s)
        self._active.append(active)
        self._advance(active, now_s)

    def _advance(self, active: _Active, now_s: float) -> None:
        wait_s = next(active.steps, None)
        if wait_s is None:
            self._active.remove(active)
            self.world.timeline.end(active.moment)
        else:
            active.wake_s = now_s + wait_s
