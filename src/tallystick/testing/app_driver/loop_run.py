"""One incarnation of a step's loop, in a thread, that goes on only while its gate is open.

Owns: the thread, the gate, what a crash is. Must not know: what is fed, when the application is idle.
"""

from __future__ import annotations

import threading
from typing import Final

from tallystick.clock import Clock
from tallystick.pipeline.counters import Counters
from tallystick.pipeline.loop import StepLoop
from tallystick.pipeline.plan import LoopPlan
from tallystick.stopping import StopFlag

_LOOK_S: Final = 0.002
_END_S: Final = 60.0


class Crashed(BaseException):
    """The process of a worker would have died here. Only the driver catches it."""


class Gate:
    """What loops wait at, between two polls."""

    def __init__(self) -> None:
        self._is_open = threading.Event()

    def open(self) -> None:
        self._is_open.set()

    def close(self) -> None:
        self._is_open.clear()

    def wait(self, timeout_s: float) -> bool:
        return self._is_open.wait(timeout_s)


class LoopRun:
    """A ``StepLoop`` from its start to its end."""

    def __init__(self, plan: LoopPlan, *, gate: Gate, clock: Clock, slot: str) -> None:
        self._stop = StopFlag()
        self._loop = StepLoop(plan, stop=self._stop, clock=clock)
        self._gate = gate
        self.step = plan.step
        self.slot = slot
        self.raised: BaseException | None = None
        self.is_waiting = False
        """At the gate, with no batch in hand."""
        self._thread = threading.Thread(target=self._run, name=f"step-{plan.step}-{slot}", daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    @property
    def counters(self) -> Counters:
        return self._loop.counters

    @property
    def name(self) -> str:
        return f"step {self.step!r} of {self.slot}"

    def stop(self) -> None:
        """Let it end well, and wait for that."""
        self._stop.set()
        self._thread.join(_END_S)
        if not self.has_ended:
            raise TimeoutError(f"{self.name} does not end in {_END_S:.0f} s")

    def join(self) -> None:
        self._thread.join(_END_S)

    def _run(self) -> None:
        try:
            self._loop.run(self._on_turn)
        except BaseException as error:  # noqa: BLE001  # the thread's edge: the driver looks at it
            self.raised = error

    def _on_turn(self) -> None:
        while not self._gate.wait(_LOOK_S):
            self.is_waiting = True
            if self._stop.is_set():
                break
        self.is_waiting = False
