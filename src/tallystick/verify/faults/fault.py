"""What every fault is: a name, a meaning, what it needs, and the strike itself.

A strike is a generator: it does something, yields how many seconds it wants to wait, and heals in ``finally``. So one
thread drives many, in an order that only the plan and the seed decide.
Owns: the base class, ``World`` and ``Need``. Must not know: the faults.
"""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from tallystick.verify.timeline import Timeline

if TYPE_CHECKING:
    from tallystick.verify.proxy import Proxy

Steps = Iterator[float]
BACKGROUND_TIMEOUT_S: Final = 180.0
_LOOK_S: Final = 0.1


class Need(Enum):
    """What a fault needs; the value is the reason for which it is refused where that is missing."""

    KILL_POINTS = "the application has no kill points: it is not Tallystick's runtime"
    PROXY = "clients reach the brokers over TLS, which the cutting proxy cannot read"
    OWN_BROKER = "the broker is not ours to kill: leave --bootstrap out, and verify starts one"
    EMBEDDED_BROKER = "only the embedded broker can be told to do that: leave --bootstrap and --on out"
    INBOX = "the workload has no inbox: use --workload sql or charge"
    PROVIDER = "the workload asks no payment provider: use --workload charge"
    OWN_DATABASE = (
        "no database server is ours to kill: use --workload sql or charge and --database postgresql (SQLite has none)"
    )


class Server(Protocol):
    """A server that verify started itself: ``start`` brings it back on the same port and data."""

    @property
    def pid(self) -> int: ...

    def kill(self) -> None: ...

    def start(self) -> object: ...


class BrokerFaults(Protocol):
    """What the embedded broker does on demand (docs/testing.md)."""

    def fill_disk(self, *, appends: int | None = None) -> None: ...

    def free_disk(self) -> None: ...

    def slow_disk(self, *, ms: float) -> None: ...

    def skew_clock(self, *, by_ms: int = 0, monotonic_ms: int = 0) -> None: ...

    def drop_response(self, api: str) -> None: ...


class PaymentProvider(Server, Protocol):
    """The sandbox."""

    def set_faults(self, faults: Mapping[str, Any]) -> object: ...


class Workers(Protocol):
    """The worker processes, by their number."""

    @property
    def count(self) -> int: ...

    def kill(self, number: int) -> None: ...

    def freeze(self, number: int) -> None: ...

    def thaw(self, number: int) -> None: ...

    def replace(self, number: int) -> None: ...

    def wake_replaced(self, number: int) -> None: ...

    def replaced_live(self, number: int) -> bool: ...

    def kill_at(self, number: int, point: str, visit: int) -> None: ...

    def is_armed(self, number: int) -> bool: ...


class Crowd(Protocol):
    """Members that join the group and leave it, and do no work."""

    def join(self) -> None: ...

    def leave_all(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a fault can reach. ``places`` are those that a worker can come to."""

    workers: Workers
    crowd: Crowd
    timeline: Timeline
    session_timeout_s: float
    proxy: Proxy | None = None
    broker: Server | None = None
    broker_faults: BrokerFaults | None = None
    database: Server | None = None
    places: frozenset[str] = frozenset()
    provider: PaymentProvider | None = None
    dispatchers: Workers | None = None


@dataclass(frozen=True, slots=True)
class Draw:
    """What one strike does: as ``argument`` says, and ``chance``, which follows from the seed, decides the rest."""

    chance: random.Random
    argument: str = ""


class Fault(ABC):
    """One way in which things go wrong. ``touches`` names what it breaks: two that touch the same never overlap."""

    name: ClassVar[str]
    meaning: ClassVar[str]
    touches: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()

    arguments: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def strike(self, world: World, draw: Draw) -> Steps:
        """Do it; whatever lasts is healed in ``finally``."""

    def needs_for(self, argument: str) -> frozenset[Need]:  # noqa: ARG002 - for those that have arguments
        """What it needs with that argument."""
        return self.needs


def wait_while(holds: Callable[[], bool], *, at_most_s: float, look_s: float) -> Steps:
    """Pauses until it holds no more, or the time is over."""
    waited_s = 0.0
    while holds() and waited_s < at_most_s:
        waited_s += look_s
        yield look_s


def in_background(work: Callable[[], object]) -> Steps:
    """Wait for something slow without stopping the others. What it raises is raised here; ``TimeoutError``."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # raised below
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    deadline = time.monotonic() + BACKGROUND_TIMEOUT_S
    while thread.is_alive():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{work} did not end within {BACKGROUND_TIMEOUT_S:.0f} s")
        yield _LOOK_S
    if raised:
        raise raised[0]
