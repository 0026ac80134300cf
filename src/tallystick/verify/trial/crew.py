"""The worker processes of a trial: they are started, die, freeze, are replaced, and are started again.

Owns: the slots and their incarnations. Must not know: why one dies (``faults``). One thread calls it.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tallystick.pipeline.worker_main import Exit
from tallystick.verify.timeline import Timeline
from tallystick.verify.worker_process import WorkerFailed, WorkerProcess

OWN_ENDS_MAX: Final = 500
"""Workers that end on their own more often than this have a fault of their own."""
_PATIENCE_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_HEALTHY_S: Final = 10.0


@dataclass(slots=True)
class _Slot:
    """``process`` is the present incarnation; ``replaced`` are frozen ones whose place another has taken."""

    name: str
    process: WorkerProcess
    replaced: list[WorkerProcess] = field(default_factory=list)
    machine: int = 0
    killed: bool = False
    armed: str = ""
    to_arm: str = ""
    started_s: float = 0.0
    start_at_s: float | None = None
    ends_in_a_row: int = 0


class Crew:
    """``make`` gives the process of a slot; each call makes a new incarnation's object."""

    def __init__(
        self,
        make: Callable[[int, int], WorkerProcess],
        *,
        count: int,
        timeline: Timeline,
        kill_log: Path,
        name: str = "slot",
    ) -> None:
        self._make = make
        self._timeline = timeline
        self._kill_log = kill_log
        self._slots = [_Slot(f"{name}-{number}", make(number, 0)) for number in range(count)]
        self.own_ends: list[str] = []
        self.fenced = 0
        self.kills = 0

    @property
    def count(self) -> int:
        return len(self._slots)

    def start(self) -> None:
        for slot in self._slots:
            self._start(slot)

    def look(self) -> None:
        """Start again who has ended. Raises ``WorkerFailed`` if they end on their own again and again."""
        for slot in self._slots:
            self._bury_replaced(slot)
            if slot.start_at_s is not None:
                if time.monotonic() >= slot.start_at_s:
                    self._start(slot)
            elif slot.process.exit_code is not None:
                self._ended(slot, slot.process.exit_code)

    # -- what faults do

    def kill(self, number: int) -> None:
        slot = self._slots[number]
        slot.killed = True
        slot.process.kill()
        self.kills += 1
        self._timeline.note(slot.name, "killed")

    def freeze(self, number: int) -> None:
        self._slots[number].process.freeze()
        self._timeline.note(self._slots[number].name, "frozen")

    def thaw(self, number: int) -> None:
        self._slots[number].process.thaw()
        self._timeline.note(self._slots[number].name, "wakes up")

    def replace(self, number: int) -> None:
        """Freeze the present incarnation, and start another one in its place."""
        slot = self._slots[number]
        slot.process.freeze()
        slot.replaced.append(slot.process)
        slot.machine += 1
        slot.process = self._make(number, slot.machine)
        self._timeline.note(slot.name, "frozen, and another takes its place")
        self._start(slot)

    def wake_replaced(self, number: int) -> None:
        for process in self._slots[number].replaced:
            process.thaw()
        self._timeline.note(self._slots[number].name, "the first one wakes up")

    def replaced_live(self, number: int) -> bool:
        return bool(self._slots[number].replaced)

    def kill_at(self, number: int, point: str, visit: int) -> None:
        """It ends in order, and the next incarnation kills itself when it comes to ``point``."""
        slot = self._slots[number]
        slot.to_arm = f"{point}:{visit}"
        slot.process.terminate()

    def is_armed(self, number: int) -> bool:
        slot = self._slots[number]
        return bool(slot.to_arm or slot.armed)

    # -- the end

    @property
    def unreached(self) -> tuple[str, ...]:
        """Places at which a worker was to die, and that none came to."""
        return tuple(at for slot in self._slots for at in (slot.armed, slot.to_arm) if at)

    def last_words(self) -> str:
        """The end of each present worker's log, for a message."""
        return "; ".join(f"{slot.name}: {slot.process.log_tail()[-400:] or '(no log)'}" for slot in self._slots)

    def stop(self) -> list[str]:
        """Stop all in order; what did not go well, in words."""
        problems = []
        for slot in self._slots:
            for process in (slot.process, *slot.replaced):
                process.thaw()
                process.terminate()
        for slot in self._slots:
            for process in slot.replaced:
                process.wait_end()
                problems.append(f"{slot.name}: a replaced worker did not notice that it was fenced")
            code = slot.process.wait_end()
            if code not in (0, None, -signal.SIGTERM) and not slot.armed and slot.start_at_s is None:
                problems.append(f"{slot.name} ended with {code} when told to stop: {slot.process.log_tail()}")
        return problems

    def kill_all(self) -> None:
        """Nothing is left behind, whatever happened."""
        for slot in self._slots:
            for process in (slot.process, *slot.replaced):
                process.kill()

    # -- inside

    def _start(self, slot: _Slot) -> None:
        slot.armed, slot.to_arm = slot.to_arm, ""
        slot.killed, slot.start_at_s, slot.started_s = False, None, time.monotonic()
        slot.process.start(kill_at=slot.armed or None)
        self._timeline.note(slot.name, f"started, to die at {slot.armed}" if slot.armed else "started")

    def _ended(self, slot: _Slot, code: int) -> None:
        if slot.armed and code == -signal.SIGKILL and self._log_has(slot.process.pid):
            self.kills += 1
            self._timeline.note(slot.name, f"killed itself at {slot.armed}")
        elif not slot.killed and not (slot.to_arm and code == 0):
            self._ended_on_its_own(slot, code)
        slot.armed = ""
        if time.monotonic() - slot.started_s > _HEALTHY_S or slot.killed:
            slot.ends_in_a_row = 0
        else:
            slot.ends_in_a_row += 1
        pause_s = _PATIENCE_S[min(slot.ends_in_a_row, len(_PATIENCE_S) - 1)]
        slot.start_at_s = time.monotonic() + pause_s

    def _ended_on_its_own(self, slot: _Slot, code: int) -> None:
        word = "fenced" if code == Exit.FENCED else f"ended with {code}"
        self._timeline.note(slot.name, word)
        self.own_ends.append(f"{slot.name} {word}: {slot.process.log_tail()}")
        if len(self.own_ends) > OWN_ENDS_MAX:
            raise WorkerFailed(f"workers ended {len(self.own_ends)} times on their own, last: {self.own_ends[-1]}")

    def _bury_replaced(self, slot: _Slot) -> None:
        for process in tuple(slot.replaced):
            if process.exit_code is not None:
                slot.replaced.remove(process)
                self.fenced += process.exit_code == Exit.FENCED
                self._timeline.note(slot.name, f"the replaced one ended with {process.exit_code}")

    def _log_has(self, pid: int) -> bool:
        lines = self._kill_log.read_text().splitlines() if self._kill_log.exists() else []
        return any(json.loads(line)["pid"] == pid for line in lines)


class Crews:
    """Workers, and the processes that work beside them, as one."""

    def __init__(self, *crews: Crew) -> None:
        self._crews = crews

    def start(self) -> None:
        for crew in self._crews:
            crew.start()

    def look(self) -> None:
        for crew in self._crews:
            crew.look()

    def last_words(self) -> str:
        return "; ".join(filter(None, (crew.last_words() for crew in self._crews)))

    def stop(self) -> list[str]:
        return [problem for crew in self._crews for problem in crew.stop()]

    def kill_all(self) -> None:
        for crew in self._crews:
            crew.kill_all()
