"""What one loop does, as a value.

Owns: ``LoopPlan`` and its limits. Must not know: how it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tallystick.errors import ConfigurationError
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.pace import Pace
from tallystick.pipeline.policy import ErrorPolicy
from tallystick.pipeline.ports import Processor
from tallystick.pipeline.state import StatePlan

MAX_LANES: Final = 64
"""Each lane is a thread and a transactional producer, with connections of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopPlan:
    """``consumer`` and ``producer`` are the user's settings, not yet merged with ours.

    ``factory`` is called once for each lane, in the lane's thread. ``lane_id`` is the transactional id of a lane; that
    of lane 0 is the ``transactional.id`` of ``producer``.
    """

    step: str
    sources: tuple[str, ...]
    guarantee: Guarantee
    factory: Callable[[], Processor]
    policy: ErrorPolicy
    dead_letter_topic: str
    consumer: Mapping[str, Any]
    producer: Mapping[str, Any]
    lane_id: Callable[[int], str] | None = None
    lanes: int = 1
    batch_records: int = 500
    commit_interval_ms: int = 100
    latency_goal_ms: int | None = None
    topics: Mapping[str, int | None] | None = None
    state: StatePlan | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.batch_records <= 100_000:
            raise ConfigurationError(f"batch_records={self.batch_records}: 1 to 100,000 are possible")
        if not 1 <= self.commit_interval_ms <= 10_000:
            raise ConfigurationError(f"commit_interval_ms={self.commit_interval_ms}: 1 to 10,000 are possible")
        if self.latency_goal_ms is not None and not 1 <= self.latency_goal_ms <= 600_000:
            raise ConfigurationError(f"latency_goal_ms={self.latency_goal_ms}: 1 to 600,000 are possible")
        if not 1 <= self.lanes <= MAX_LANES:
            raise ConfigurationError(f"lanes={self.lanes}: 1 to {MAX_LANES} are possible")
        if self.state is not None and self.guarantee is not Guarantee.EXACTLY_ONCE:
            raise ConfigurationError(
                f"step {self.step!r} keeps state: only exactly-once can, not {self.guarantee.value}",
                remedy="A repeated record would change state twice: use exactly-once, or keep no state",
            )
        if self.lanes > 1 and self.guarantee is not Guarantee.EXACTLY_ONCE:
            raise ConfigurationError(
                f"lanes={self.lanes}: only exactly-once has lanes, not {self.guarantee.value}",
                remedy="Leave lanes out, or run more workers",
            )

    def pace(self) -> Pace:
        """How a lane begins to take batches."""
        return Pace.begin(
            most_records=self.batch_records, most_wait_ms=self.commit_interval_ms, goal_ms=self.latency_goal_ms
        )


def the_one(processor: Processor, *, lanes: int) -> Callable[[], Processor]:
    """A factory that gives the same processor; refused for several lanes, which would call it at the same time."""
    if lanes > 1:
        raise ConfigurationError(
            f"one processor cannot serve {lanes} lanes: they run at the same time",
            remedy="Give a factory, which is called once for each lane",
        )
    return lambda: processor
