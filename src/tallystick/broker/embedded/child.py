"""The broker as a child process.

Owns: the child, its ready line, its end. Must not know: the broker's inside; it is the process that is run.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tallystick.broker.control.messages import Command, Load, Reply, Report
from tallystick.broker.control.parent_end import ParentEnd
from tallystick.broker.embedded.local_broker import BrokerDidNotStart, LocalBroker
from tallystick.broker.embedded.run import Ending, Ready
from tallystick.broker.faults.injection import Injection
from tallystick.broker.faults.plan import PlanState
from tallystick.errors import ConfigurationError
from tallystick.processes import end_process

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 20.0
LAST_REPORT_TIMEOUT_S: Final = 1.0
"""How long a kill waits to hear how far the faults are; a broker that does not answer has them as last told."""
OWN_END_TIMEOUT_S: Final = 10.0
"""How long one that may have died by itself gets to say so; only one that is stopped (SIGSTOP) takes it all."""

_SIGNALS: Final = {Ending.STOP: signal.SIGTERM, Ending.KILL: signal.SIGKILL}


class EmbeddedBroker(LocalBroker):
    """A broker in a child process; it ends when this process does, however it ends. See ``LocalBroker``."""

    _run: ChildRun | None

    @property
    def pid(self) -> int:
        """The child's process id."""
        if self._run is None:
            raise ConfigurationError("the broker does not run")
        return self._run.pid

    def wait(self, timeout_s: float) -> int:
        """Wait until the child has ended by itself; its exit code, negative for a signal. ``TimeoutError``."""
        if self._run is None:
            raise ConfigurationError("the broker does not run")
        return self._run.wait(timeout_s)

    def _launch(self, arguments: list[str]) -> ChildRun:
        run = ChildRun(arguments, self.log_path, note=self.faults.note)
        try:
            run.await_ready(self.faults.state())
        except BrokerDidNotStart as error:
            run.end(Ending.KILL)
            raise BrokerDidNotStart(f"{error}: {self.log_tail()}") from None
        except BaseException:
            run.end(Ending.KILL)
            raise
        return run


class ChildRun:
    """One child, from its start to its end."""

    def __init__(self, arguments: list[str], log_path: Path, *, note: Callable[[Injection], None]) -> None:
        self._control = ParentEnd(note)
        fd = self._control.child_fd
        command = [sys.executable, "-m", "tallystick.broker", *arguments]
        command += ["--exit-with-stdin", "--control-fd", str(fd)]
        try:
            with log_path.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, pass_fds=(fd,)
                )
        finally:
            self._control.child_started()
        self._ready: Ready | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ready(self) -> Ready:
        if self._ready is None:
            raise BrokerDidNotStart("the broker is not ready")
        return self._ready

    @property
    def is_dying(self) -> bool:
        return self._control.is_dying

    def ask(self, command: Command) -> Reply | None:
        return self._control.ask(command)

    def await_ready(self, plan: PlanState) -> None:
        """Give it the plan, and wait for its ready line; ``BrokerDidNotStart``."""
        self._control.say(Load(plan))
        line: dict[str, Any] = json.loads(self._ready_line())
        listeners = {name: int(port) for name, port in line["listeners"].items()}
        self._ready = Ready(int(line["port"]), listeners, line["recovery"])

    def _ready_line(self) -> bytes:
        deadline = time.monotonic() + START_TIMEOUT_S
        line = b""
        output = self._process.stdout
        if output is None:
            raise BrokerDidNotStart("the broker has no standard output")
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise BrokerDidNotStart(f"the broker was not ready in {START_TIMEOUT_S} s")
                part = os.read(output.fileno(), 65_536)
                if not part:
                    self._process.wait()
                    raise BrokerDidNotStart(f"the broker ended with {self._process.returncode}")
                line += part
        return line

    def await_own_end(self) -> bool:
        if self._process.poll() is None:
            # The answer comes after everything that it said before, and none from one that died this moment.
            self._control.ask(Report(), timeout_s=OWN_END_TIMEOUT_S)
        if self._control.is_dying or self._control.has_ended:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
        return self._process.poll() is not None

    def wait(self, timeout_s: float) -> int:
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the broker has not ended within {timeout_s} s") from None

    def end(self, how: Ending) -> PlanState | None:
        self._control.ask(Report(), timeout_s=LAST_REPORT_TIMEOUT_S)
        end_process(self._process, _SIGNALS[how], timeout_s=STOP_TIMEOUT_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._control.close()
        return self._control.last_state
