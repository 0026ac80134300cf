"""One run of a broker, from its start to its end, as whoever started it sees it.

Owns: the port. Must not know: processes and threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from tallystick.broker.control.messages import Command, Reply
from tallystick.broker.faults.plan import PlanState


class Ending(StrEnum):
    """How a broker is ended from outside."""

    STOP = "stop"
    """In order: open requests are answered, everything is brought to the disk."""
    KILL = "kill"
    """As by SIGKILL: nothing is written, synced or said any more."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What a broker says when it listens."""

    port: int
    ports: dict[str, int]
    recovery: dict[str, Any]


class Run(Protocol):
    """A broker that was ready."""

    @property
    def ready(self) -> Ready: ...

    @property
    def is_dying(self) -> bool:
        """Whether it said that a fault kills it."""
        ...

    def ask(self, command: Command) -> Reply | None:
        """Have a command executed; None if the broker is gone."""
        ...

    def await_own_end(self) -> bool:
        """Whether it has ended by itself, or does so now if it is dying. Waits only for one that is dying."""
        ...

    def end(self, how: Ending) -> PlanState | None:
        """End it and wait until it has; how far its faults were, as far as it said so."""
        ...
