"""A fault as it is written on the command line, and the plan that a seed makes of several.

``kill-worker`` strikes at random; ``kill-worker@30`` 30 seconds after the start, ``kill-worker/10`` every 10 seconds;
``kill-at:cycle.before-commit`` has an argument. Owns: their text, and the plan. Must not know: what a fault does.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.errors import ConfigurationError

STRIKES_MAX: Final = 100_000
_SPEC: Final = re.compile(r"(?P<name>[a-z-]+)(:(?P<argument>[\w.-]+))?((?P<when>[@/])(?P<seconds>\d+(\.\d+)?)s?)?")


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """``at_s`` is a moment, ``every_s`` a period; with neither the seed decides."""

    name: str
    argument: str = ""
    at_s: float | None = None
    every_s: float | None = None

    @classmethod
    def parse(cls, text: str) -> FaultSpec:
        """``ConfigurationError`` for what is no spec."""
        found = _SPEC.fullmatch(text.strip())
        if found is None:
            raise ConfigurationError(
                f"{text!r} names no fault", remedy="For example kill-worker, kill-worker@30, kill-worker/10"
            )
        when, seconds = found["when"], found["seconds"]
        if when == "/" and float(seconds) <= 0:
            raise ConfigurationError(f"{text!r}: a period is above 0")
        return cls(
            found["name"],
            found["argument"] or "",
            at_s=float(seconds) if when == "@" else None,
            every_s=float(seconds) if when == "/" else None,
        )

    def __str__(self) -> str:
        text = f"{self.name}:{self.argument}" if self.argument else self.name
        if self.at_s is not None:
            return f"{text}@{self.at_s:g}"
        return text if self.every_s is None else f"{text}/{self.every_s:g}"


@dataclass(frozen=True, slots=True, order=True)
class Strike:
    """One fault at one moment of the plan."""

    at_s: float
    name: str
    argument: str = ""


def plan(specs: Sequence[FaultSpec], *, seed: int, duration_s: float, every_s: float) -> tuple[Strike, ...]:
    """When each one strikes. Those left to the seed come in shuffled rounds, so that each one has its turn.

    The gaps are between half and one and a half of ``every_s``. Nothing strikes in the last fifth: what is broken
    then could not show.
    """
    chance = random.Random(f"{seed} plan")  # noqa: S311 - repeatable on purpose
    strikes: list[Strike] = []
    last_s = duration_s * 0.8
    for spec in specs:
        if spec.at_s is not None:
            strikes.append(Strike(spec.at_s, spec.name, spec.argument))
        elif spec.every_s is not None:
            count = min(int(last_s / spec.every_s), STRIKES_MAX)
            strikes += [Strike(spec.every_s * number, spec.name, spec.argument) for number in range(1, count + 1)]
    free = [spec for spec in specs if spec.at_s is None and spec.every_s is None]
    at_s, waiting = 0.0, list[FaultSpec]()
    while free and len(strikes) < STRIKES_MAX:
        at_s += every_s * chance.uniform(0.5, 1.5)
        if at_s > last_s:
            break
        if not waiting:
            waiting = list(free)
            chance.shuffle(waiting)
        spec = waiting.pop()
        strikes.append(Strike(at_s, spec.name, spec.argument))
    return tuple(sorted(strikes))
