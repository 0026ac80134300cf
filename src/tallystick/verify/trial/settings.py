"""What a person asks for: the settings of one trial, all of them, so that the same ones can be given again.

Owns: ``TrialSettings``. Must not know: where it runs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from tallystick.errors import ConfigurationError
from tallystick.pipeline import Guarantee
from tallystick.verify.faults.specs import FaultSpec
from tallystick.verify.workloads import Shape

EVENTS_MAX: Final = 4_000_000
"""What is seen lies on disk until it is judged, about 0.5 KiB for each event."""

SESSION_TIMEOUT_MS: Final = 8_000
"""Of the workers: short, so that a frozen one loses its partitions within the run."""
TRANSACTION_TIMEOUT_MS: Final = 6_000
"""Of the workers: below the session timeout (rule 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSettings:
    """One run. The same settings and the same ``seed`` give the same events and the same plan of faults.

    ``rate_per_s`` events are sent each second for ``duration_s``; a fault begins every ``every_s`` on average.
    ``prefix`` is in front of all its topics and groups. ``drain_timeout_s`` is how long the rest may take once the
    faults are over. ``application`` is the command of a foreign application, None for our runtime.
    """

    workload: Shape
    guarantee: Guarantee
    faults: tuple[FaultSpec, ...] = ()
    seed: int = 1
    duration_s: float = 60.0
    rate_per_s: int = 300
    every_s: float = 5.0
    workers: int = 2
    lanes: int = 1
    partitions: int = 4
    accounts: int = 64
    batch_records: int = 100
    prefix: str = "verify"
    keep: bool = False
    drain_timeout_s: float = 120.0
    application: str | None = None

    def __post_init__(self) -> None:
        if self.rate_per_s * self.duration_s > EVENTS_MAX:
            raise ConfigurationError(
                f"{self.rate_per_s * self.duration_s:,.0f} events are more than {EVENTS_MAX:,}",
                remedy="Lower --rate or --duration",
            )
        if min(self.duration_s, self.rate_per_s, self.every_s, self.workers, self.partitions) <= 0:
            raise ConfigurationError("duration, rate, workers and partitions must be above 0")

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        plain = asdict(self)
        return plain | {
            "workload": self.workload.value,
            "guarantee": self.guarantee.value,
            "faults": [str(spec) for spec in self.faults],
        }
