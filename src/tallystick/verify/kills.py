"""What is killed, when, and what that really hit.

Owns: the plan of kills and the evidence of each one. Must not know: how processes are run.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tallystick.errors import ConfigurationError
from tallystick.pipeline import Guarantee


class Target(Enum):
    """Who dies."""

    WORKER_AT_POINT = "worker-at-point"
    """A worker, by its own hand, at a named kill point."""

    WORKER = "worker"
    """A worker, by SIGKILL from outside, once the input has come so far."""

    BROKER = "broker"
    """The embedded broker, by SIGKILL from outside, once the input has come so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill. ``visit`` says which time the point is reached; ``at_remaining`` how much input is left by then."""

    target: Target
    slot: int = 0
    point: str = ""
    visit: int = 1
    at_remaining: int = 0

    def __post_init__(self) -> None:
        if (self.target is Target.WORKER_AT_POINT) != bool(self.point) or self.visit < 1 or self.slot < 0:
            raise ConfigurationError(f"no sensible kill: {self}")

    @property
    def name(self) -> str:
        if self.target is Target.WORKER_AT_POINT:
            return f"{self.point}:{self.visit} in slot {self.slot}"
        return f"{self.target.value} with {self.at_remaining} left"


def at_point(point: str, visit: int = 1, *, slot: int = 0) -> Kill:
    """The worker of ``slot`` dies when it reaches ``point`` for the ``visit``-th time."""
    return Kill(target=Target.WORKER_AT_POINT, point=point, visit=visit, slot=slot)


def at_random(*, seed: int, count: int, events: int, slots: int, broker: bool = False) -> tuple[Kill, ...]:
    """``count`` kills from outside, spread over the input in an order that ``seed`` decides."""
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    levels = sorted((chance.randrange(events // 10, events * 9 // 10) for _ in range(count)), reverse=True)
    targets = [Target.WORKER, Target.BROKER] if broker else [Target.WORKER]
    return tuple(
        Kill(target=chance.choice(targets), slot=chance.randrange(slots), at_remaining=level) for level in levels
    )


@dataclass(frozen=True, slots=True)
class Evidence:
    """The world between a kill and the restart, seen from outside.

    ``remaining`` input records, ``open_partitions`` of the sinks and ``offsets_pending`` of the group under an open
    transaction; ``ahead_rows`` are inbox rows committed in SQL whose input Kafka does not count as consumed.
    ``logged`` is whether the dying process itself wrote the kill point into the kill log.
    """

    kill: Kill
    logged: bool
    remaining: int
    open_partitions: int
    offsets_pending: bool
    ahead_rows: int

    @property
    def transaction_open(self) -> bool:
        return self.open_partitions > 0 or self.offsets_pending

    def missed(self, guarantee: Guarantee) -> str | None:
        """Why this kill proves nothing, None if it hit. Exact if the slot's worker is the only one."""
        kill = self.kill
        if kill.target is Target.WORKER_AT_POINT and not self.logged:
            return f"{kill.name}: the kill log does not have it"
        if self.remaining == 0 and kill.point not in _LAST_PLACES:
            return f"{kill.name}: no input was left to be met again"
        if kill.point in _OPEN_AT and guarantee is Guarantee.EXACTLY_ONCE and not self.transaction_open:
            return f"{kill.name}: no transaction was open"
        if kill.point in _AHEAD_AT and self.ahead_rows == 0:
            return f"{kill.name}: no inbox row was ahead of Kafka"
        return None


_OPEN_AT: Final = frozenset({"cycle.after-offsets", "cycle.before-commit"})
"""Only here the broker surely knows of the transaction: earlier ones may still be with the client."""

_AHEAD_AT: Final = frozenset({"inbox.after-sql-commit"})
"""Here SQL is committed and Kafka is not, whatever the batch."""

_LAST_PLACES: Final = frozenset({"cycle.after-commit"})
"""Here the batch is done; the kill shows that it is not done again."""
