"""The broker as a child process, for tests, examples and small installations.

Owns: the child, its ready line, its end. Must not know: the broker's inside; it is the process that is run.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

from tallystick.broker.faults.faults import Faults
from tallystick.broker.faults.messages import Load, Report
from tallystick.broker.faults.parent_end import ParentEnd
from tallystick.broker.faults.plan import FaultPlan
from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.errors import ConfigurationError, TallystickError
from tallystick.processes import end_process

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
LAST_REPORT_TIMEOUT_S = 1.0
"""How long a kill waits to hear how far the faults are; a broker that does not answer has them as last told."""
_LOG_TAIL_CHARACTERS = 2_000
_NOTHING_GIVEN: Final[Mapping[str, str]] = MappingProxyType({})


class BrokerDidNotStart(TallystickError):
    """The child ended or stayed silent; the message holds the end of its log."""


class EmbeddedBroker:
    """A broker of one's own: ``with EmbeddedBroker() as broker: ... broker.bootstrap``.

    ``settings`` are broker configurations under Apache Kafka's names. ``options`` are further ones of the command line;
    listeners among them are opened instead of the one on ``host``, and ``ports`` has the port of each by its name.

    ``data`` None is a temporary folder that goes at the end of the ``with`` block. ``port`` 0 is any free one, and
    stays the same over ``restart``. The child ends when this process does, however it ends. ``log_path`` has its log.

    ``faults`` is the plan to begin with; ``broker.faults`` changes it while the broker runs.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        fsync: FsyncPolicy | str | None = None,
        num_partitions: int | None = None,
        settings: Mapping[str, str] = _NOTHING_GIVEN,
        options: Sequence[str] = (),
        faults: FaultPlan | None = None,
    ) -> None:
        self._temporary = Path(tempfile.mkdtemp(prefix="tallystick-broker-"))
        weakref.finalize(self, shutil.rmtree, self._temporary, ignore_errors=True)
        self.data = self._temporary / "data" if data is None else Path(data)
        self.log_path = self._temporary / "broker.log"
        self.host = host
        self.port = port
        self.recovery: dict[str, Any] = {}
        self._settings = dict(settings)
        try:
            self._fsync = None if fsync is None else FsyncPolicy(fsync)
        except ValueError:
            raise ConfigurationError(f"fsync {fsync!r} is none of {', '.join(FsyncPolicy)}") from None
        self._num_partitions = num_partitions
        self._options = tuple(options)
        self.ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.faults = Faults(FaultPlan() if faults is None else faults)
        self._control: ParentEnd | None = None

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients; only after ``start``."""
        if self.port == 0:
            raise ConfigurationError("the broker has no port before it is started")
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._running().pid

    def start(self) -> None:
        """Start the child, also after a fault has killed it, and wait until it listens.

        ``BrokerDidNotStart`` with its last words if it does not.
        """
        self._bury()
        if self._process is not None:
            raise ConfigurationError("the broker runs already")
        address = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        command = [sys.executable, "-m", "tallystick.broker", "--data", str(self.data), *self._listeners(address)]
        command += [f"--set={name}={value}" for name, value in self._settings.items()]
        if self._fsync is not None:
            command += ["--fsync", str(self._fsync)]
        if self._num_partitions is not None:
            command += ["--num-partitions", str(self._num_partitions)]
        command.append("--exit-with-stdin")
        self._control = ParentEnd(self.faults.note)
        command += ["--control-fd", str(self._control.child_fd)]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=(self._control.child_fd,),
            )
        self._control.child_started()
        try:
            self._control.say(Load(self.faults.state()))
            ready = self._await_ready(self._process)
        except BaseException:
            self._end(signal.SIGKILL)
            raise
        self.port = int(ready["port"])
        self.ports = {name: int(port) for name, port in ready["listeners"].items()}
        self.recovery = ready["recovery"]
        self.faults.connect(self._control)

    def _bury(self) -> None:
        """Take leave of a child that somebody killed, or that dies of a fault right now."""
        process, control = self._process, self._control
        if process is None or control is None:
            return
        if control.is_dying:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
        if process.poll() is not None or control.is_dying:
            self._end(signal.SIGKILL)

    def _listeners(self, address: str) -> list[str]:
        """The options, in which ports that were free at the first start stay what they became."""
        if "--listen" not in self._options:
            return ["--listen", address, *self._options]
        options = list(self._options)
        for at, option in enumerate(options):
            name, slashes, _ = option.partition("://")
            if slashes and options[at - 1] == "--listen" and name in self.ports:
                options[at] = f"{option.rpartition(':')[0]}:{self.ports[name]}"
        return options

    def _await_ready(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        deadline = time.monotonic() + START_TIMEOUT_S
        line = b""
        with selectors.DefaultSelector() as selector:
            if process.stdout is None:
                raise BrokerDidNotStart("the broker has no standard output")
            selector.register(process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise BrokerDidNotStart(f"the broker was not ready in {START_TIMEOUT_S} s: {self._log_tail()}")
                part = os.read(process.stdout.fileno(), 65_536)
                if not part:
                    process.wait()
                    raise BrokerDidNotStart(f"the broker ended with {process.returncode}: {self._log_tail()}")
                line += part
        ready: dict[str, Any] = json.loads(line)
        return ready

    def _log_tail(self) -> str:
        return self.log_path.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:].strip()

    def stop(self) -> None:
        """SIGTERM, then wait for the end; does nothing if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: what an out-of-memory kill looks like to the broker."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        control, self._control = self._control, None
        if process is None or control is None:
            return
        control.ask(Report(), timeout_s=LAST_REPORT_TIMEOUT_S)
        end_process(process, number, timeout_s=STOP_TIMEOUT_S)
        control.close()
        self.faults.disconnect(control.last_state)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def restart(self) -> None:
        """Stop if it runs, and start on the same port and data."""
        self.stop()
        self.start()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ConfigurationError("the broker does not run")
        return self._process

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._temporary, ignore_errors=True)
