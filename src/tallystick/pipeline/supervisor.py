"""Worker processes, one for each slot: started, restarted when they die, drained at the end.

Owns: processes, slots' file locks, pid files, the restart policy. Must not know: Kafka.

A worker that is killed starts again at once under the same slot, so that it has its partitions back and fences its own
past (rule 5). One that keeps dying waits longer each time, and after ``max_restarts`` in a row the supervisor stops.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import structlog

from tallystick.errors import ConfigurationError
from tallystick.killpoints import ENV_KILL_AT
from tallystick.pipeline.observation.health import Slot
from tallystick.pipeline.slots import SlotLock
from tallystick.pipeline.worker_main import Exit
from tallystick.stopping import StopFlag

log = structlog.get_logger(__name__)

ENV_KILL_SLOT: Final = "TALLYSTICK_KILL_SLOT"
"""The one slot whose first incarnation inherits ``TALLYSTICK_KILL_AT``; without it the first slot is.

An entry of ``TALLYSTICK_KILL_AT`` that ends in ``@slot`` goes to that slot instead.
"""

_POLL_S: Final = 0.02
_HEALTHY_AFTER_S: Final = 30.0
_NEVER_RESTARTED: Final = frozenset({Exit.FENCED, Exit.CONFIGURATION, Exit.STOPPED_BY_POLICY})


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorConfig:
    """``command`` is the worker's command line without its slot; ``run_dir`` gets ``SLOT.lock`` and ``SLOT.pid``."""

    command: tuple[str, ...]
    slots: tuple[str, ...]
    run_dir: Path
    max_restarts: int = 20
    drain_timeout_s: float = 60.0
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def backoff_s(restarts_in_a_row: int) -> float:
    """How long to wait before a restart: the first is at once, then 0.25 s doubling up to 10 s."""
    return 0.0 if restarts_in_a_row <= 1 else min(10.0, 0.25 * 2.0 ** (restarts_in_a_row - 2))


def kill_entries(setting: str, *, slot: str, default_slot: str) -> str:
    """The entries of ``TALLYSTICK_KILL_AT`` that are meant for ``slot``, without their ``@slot``."""
    parted = (entry.partition("@") for entry in setting.split(",") if entry)
    return ",".join(entry for entry, _, named in parted if (named or default_slot) == slot)


class _Slot:
    """One slot's process of the moment."""

    def __init__(self, name: str, config: SupervisorConfig) -> None:
        self.name = name
        self._config = config
        self._lock = SlotLock(config.run_dir, name)
        # Its write end is ours alone: when this process dies in whatever way, the worker reads the end and stops.
        self._pipe = os.pipe()
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_at = 0.0
        self.incarnation = 0
        self.restarts_in_a_row = 0
        self.final_code: int | None = None
        self._ended: str | None = None

    def shown(self) -> Slot:
        """For whoever watches, from another thread."""
        return Slot(
            is_running=self._process is not None,
            restarts=max(0, self.incarnation - 1),
            how=self._ended,
            running_for_s=time.monotonic() - self._started_at,
        )

    def tick(self, now: float, *, draining: bool) -> None:
        """Notice an end, start what is due."""
        if self.final_code is not None:
            return
        if self._process is None:
            if draining:
                self.final_code = 0
            elif now >= self._start_at:
                self._start(now)
            return
        code = self._process.poll()
        if code is None:
            return
        self._process = None
        self._ended = _describe(code)
        if draining and code == -signal.SIGTERM:
            self.final_code = 0  # it had only just started, and took no signals yet: nothing was open
        elif draining or code == 0 or code in _NEVER_RESTARTED:
            self.final_code = code
        else:
            self._plan_restart(now, code)

    def send(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def close(self) -> None:
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        for descriptor in self._pipe:
            os.close(descriptor)
        self._pid_file.unlink(missing_ok=True)
        self._lock.release()

    @property
    def _pid_file(self) -> Path:
        return self._config.run_dir / f"{self.name}.pid"

    def _start(self, now: float) -> None:
        self.incarnation += 1
        environment = dict(self._config.environment)
        chosen = environment.pop(ENV_KILL_SLOT, self._config.slots[0])
        kill_at = environment.pop(ENV_KILL_AT, "")
        if self.incarnation == 1 and (own := kill_entries(kill_at, slot=self.name, default_slot=chosen)):
            environment[ENV_KILL_AT] = own
        command = [*self._config.command, "--slot", self.name, "--parent-pipe", str(self._pipe[0])]
        # The worker inherits the lock too: while it lives, no other supervisor takes its slot.
        self._process = subprocess.Popen(  # noqa: S603  # our own command
            command, env=environment, pass_fds=(self._pipe[0], self._lock.descriptor), stdin=subprocess.DEVNULL
        )
        self._started_at = now
        temporary = self._pid_file.with_suffix(".pid.new")
        temporary.write_text(f"{self._process.pid}\n")
        temporary.replace(self._pid_file)
        log.info("worker starts", slot=self.name, pid=self._process.pid, incarnation=self.incarnation)

    def _plan_restart(self, now: float, code: int) -> None:
        if now - self._started_at >= _HEALTHY_AFTER_S:
            self.restarts_in_a_row = 0
        self.restarts_in_a_row += 1
        if self.restarts_in_a_row > self._config.max_restarts:
            log.error("worker keeps dying", slot=self.name, code=code, restarts=self._config.max_restarts)
            self.final_code = code
            return
        pause = backoff_s(self.restarts_in_a_row)
        self._start_at = now + pause
        log.warning("worker died", slot=self.name, how=_describe(code), restart_in_s=pause)


class Supervisor:
    """Runs one worker process per slot in the foreground."""

    def __init__(self, config: SupervisorConfig) -> None:
        if not config.slots or len(set(config.slots)) != len(config.slots):
            raise ConfigurationError(f"slots {list(config.slots)} are not a set of names")
        self._config = config
        self._stopping = StopFlag()
        self._slots: tuple[_Slot, ...] = ()

    def slots(self) -> dict[str, Slot]:
        """Each slot as it is now. May be called from any thread."""
        return {slot.name: slot.shown() for slot in self._slots}

    def stop(self) -> None:
        """Drain all workers; ``run`` returns then. Safe in a signal handler."""
        self._stopping.set()

    def run(self) -> int:
        """Until ``stop``, or until a worker cannot be restarted: 0, or that worker's exit code."""
        slots: list[_Slot] = []
        try:
            slots.extend(_Slot(name, self._config) for name in self._config.slots)
            self._slots = tuple(slots)
            while not self._stopping.wait(_POLL_S):
                now = time.monotonic()
                for slot in slots:
                    slot.tick(now, draining=False)
                if any(slot.final_code is not None for slot in slots):
                    break
            return self._drain(slots)
        finally:
            for slot in slots:
                slot.close()

    def _drain(self, slots: Sequence[_Slot]) -> int:
        for slot in slots:
            slot.send(signal.SIGTERM)
        deadline = time.monotonic() + self._config.drain_timeout_s
        while any(slot.final_code is None for slot in slots) and time.monotonic() < deadline:
            for slot in slots:
                slot.tick(time.monotonic(), draining=True)
            time.sleep(_POLL_S)
        codes = [Exit.FAILED if slot.final_code is None else slot.final_code for slot in slots]
        log.info("workers ended", codes={slot.name: int(code) for slot, code in zip(slots, codes, strict=True)})
        return next((_as_exit_code(code) for code in codes if code != 0), 0)


def worker_command(app: str, *, bootstrap: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """The command line of a worker process; ``options`` by their names on it, those that are None left out."""
    command = [sys.executable, "-m", "tallystick.pipeline.worker_main", app, "--bootstrap", bootstrap]
    for name, value in options.items():
        if value is not None:
            command += [f"--{name}", str(value)]
    return tuple(command)


Watching = Callable[[Supervisor], AbstractContextManager[object]]


def run_supervised(config: SupervisorConfig, *, watching: Watching | None = None) -> int:
    """``Supervisor.run`` with SIGTERM and SIGINT draining the workers; for a command line.

    ``watching`` is opened before the first worker starts and is closed after the last has ended.
    """
    supervisor = Supervisor(config)

    def drain(_number: int, _frame: FrameType | None) -> None:
        supervisor.stop()

    before = {number: signal.signal(number, drain) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with contextlib.nullcontext() if watching is None else watching(supervisor):
            return supervisor.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _describe(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _as_exit_code(code: int) -> int:
    return 128 - code if code < 0 else code
