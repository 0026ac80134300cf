"""One fault: an action, the requests it is for, and when it strikes among them.

Owns: the value and its text. Must not know: what struck already (``plan``).
"""

from __future__ import annotations

import msgspec

from tallystick.broker.faults.actions import Action
from tallystick.broker.faults.match import Match
from tallystick.errors import ConfigurationError


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``Fault(DropResponse(), on=Match(api="end_txn"))`` drops the answer of the next EndTxn.

    ``nth`` is the first of the matching requests that may be struck, counted from 1. ``times`` is how many are struck
    in all, None: without end. ``probability`` is each one's, drawn by the plan's seed. ``name`` is what the journal of
    faults calls it; by default its text. Two faults of one name in a plan are refused.
    """

    action: Action
    on: Match = Match()
    nth: int = msgspec.field(default=1)
    times: int | None = 1
    probability: float = 1.0
    name: str = ""

    def __post_init__(self) -> None:
        if self.nth < 1:
            raise ConfigurationError(f"nth={self.nth}: the first request is number 1")
        if self.times is not None and self.times < 1:
            raise ConfigurationError(f"times={self.times} is not above 0; None is without end")
        if not 0 < self.probability <= 1:
            raise ConfigurationError(f"probability={self.probability} is not above 0 and at most 1")

    @property
    def label(self) -> str:
        """Its name, or its text."""
        return self.name or str(self)

    def __str__(self) -> str:
        text = f"{self.action}, on {self.on}"
        if self.nth > 1:
            text += f", from number {self.nth} on"
        if self.probability < 1:
            text += f", one in {1 / self.probability:g}"
        if self.times is None:
            return text + ", always"
        return text if self.times == 1 else f"{text}, {self.times} times"
