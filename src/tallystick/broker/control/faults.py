"""``broker.faults``: what a test says about faults, whether the broker runs here, in a child, or not at all.

Owns: the plan while no broker runs, the journal of what was injected. Must not know: how a broker is reached.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Protocol

from tallystick.broker.control.messages import (
    AddFaults,
    ClearFaults,
    Command,
    FreeDisk,
    Perform,
    Release,
    Reply,
    Report,
    Resume,
)
from tallystick.broker.faults.actions import FullDisk, Kill, Pause, SkewClock, SlowDisk, StandingAction
from tallystick.broker.faults.fault import Fault
from tallystick.broker.faults.injection import Injection, InjectionLog
from tallystick.broker.faults.plan import FaultPlan, PlanState
from tallystick.errors import ConfigurationError


class Channel(Protocol):
    """The way to a running broker."""

    def ask(self, command: Command) -> Reply | None:
        """Have the command executed; None if the broker is gone."""
        ...


class Faults:
    """The faults of one broker. They and their counts outlive its kill and its start; a pause, a full or slow disk and
    a skewed clock end with it. May be used from any thread; each call waits until the broker has done it.
    """

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._log = InjectionLog()
        self._channel: Channel | None = None
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        """Set faults, behind those that are set. ``ConfigurationError`` for one that cannot be, and then for all."""
        if not self._reached(AddFaults(faults)):
            with self._lock:
                self._plan.add(*faults)

    def clear(self) -> None:
        """Take all faults away, resume, release, free the disk, set the clock right, and forget what was injected.

        The monotonic clock stays where it is.
        """
        if not self._reached(ClearFaults()):
            with self._lock:
                self._plan.clear()
        self._log.clear()

    @property
    def injected(self) -> tuple[Injection, ...]:
        """What was injected so far, in order."""
        self._reached(Report())
        return self._log.entries()

    def wait_for(self, fault: Fault | str, *, times: int = 1, timeout_s: float = 30.0) -> None:
        """Wait until the fault, or the one of that name, was injected so often; ``TimeoutError`` with the plan."""
        label = fault if isinstance(fault, str) else fault.label
        if not self._log.wait_for(label, times=times, timeout_s=timeout_s):
            raise TimeoutError(f"{label!r} was not injected {times} times within {timeout_s} s; {self}")

    def pause(self) -> None:
        """Answer nothing, on any connection, until ``resume``."""
        self._perform(Pause())

    def resume(self) -> None:
        """End a pause."""
        self._reached(Resume())

    def release(self) -> None:
        """Let go on what a ``Hold`` holds."""
        self._reached(Release())

    def fill_disk(self, *, appends: int | None = None) -> None:
        """Fail the next appends with ENOSPC; None: until ``free_disk``."""
        self._perform(FullDisk(appends))

    def slow_disk(self, *, ms: float) -> None:
        """Each append takes ``ms`` longer, until ``free_disk``."""
        self._perform(SlowDisk(ms))

    def free_disk(self) -> None:
        """The disk takes appends again, at its own speed."""
        self._reached(FreeDisk())

    def skew_clock(self, *, by_ms: int = 0, monotonic_ms: int = 0) -> None:
        """Let the broker's clocks jump; see ``SkewClock``."""
        self._perform(SkewClock(by_ms, monotonic_ms))

    def __iter__(self) -> Iterator[Fault]:
        self._reached(Report())
        return iter(self._plan)

    def __str__(self) -> str:
        self._reached(Report())
        return str(self._plan)

    def _perform(self, action: StandingAction) -> None:
        if not self._reached(Perform(action)) and not isinstance(action, Kill):
            raise ConfigurationError(f"{action}: the broker does not run")

    def _reached(self, command: Command) -> bool:
        """Whether a running broker executed it; ``ConfigurationError`` if it refused."""
        channel = self._channel
        reply = None if channel is None else channel.ask(command)
        if reply is None:
            return False
        with self._lock:
            self._plan.restore(reply.state)
        if reply.error:
            raise ConfigurationError(reply.error)
        return True

    def connect(self, channel: Channel) -> None:
        """A broker runs, and has the plan."""
        self._channel = channel

    def disconnect(self, last_state: PlanState | None) -> None:
        """It runs no more; ``last_state`` is how far its faults were."""
        self._channel = None
        if last_state is not None:
            with self._lock:
                self._plan.restore(last_state)

    def state(self) -> PlanState:
        """For the next start."""
        with self._lock:
            return self._plan.state()

    def note(self, injection: Injection) -> None:
        """A fault strikes."""
        self._log.append(injection)
