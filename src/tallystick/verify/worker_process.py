"""One slot of a run: a worker process that is started, dies, and is started again.

Owns: the child process, its log and its environment. Must not know: why it dies.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tallystick.errors import TallystickError
from tallystick.killpoints import ENV_KILL_AT, ENV_KILL_LOG
from tallystick.verify.worker import WorkerPlace
from tallystick.verify.workloads import WorkloadSettings

STOP_TIMEOUT_S: Final = 30.0
_LOG_TAIL_CHARACTERS: Final = 2_000


class WorkerFailed(TallystickError):
    """A worker ended on its own, more often than is patient; the message holds the end of its log."""


class WorkerProcess:
    """The worker of one slot. ``folder`` takes its log; ``kill_log`` is shared by all slots.

    ``command`` is a foreign application's, None for our runtime; it finds its ``more`` settings in the environment.
    """

    def __init__(
        self,
        settings: WorkloadSettings,
        place: WorkerPlace,
        *,
        folder: Path,
        kill_log: Path,
        command: Sequence[str] | None = None,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.slot = place.slot
        self._command = list(command or (sys.executable, "-m", "tallystick.verify.worker"))
        ours = {**settings.to_environment(), **place.to_environment(), ENV_KILL_LOG: str(kill_log)}
        self._environment = {**ours, **more}
        self._log_path = folder / f"{place.slot}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, kill_at: str | None = None) -> None:
        """Start an incarnation; ``kill_at`` arms a kill point in this one only."""
        environment = {name: value for name, value in os.environ.items() if name != ENV_KILL_AT} | self._environment
        if kill_at is not None:
            environment[ENV_KILL_AT] = kill_at
        with self._log_path.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - ours, or the command that a person gave
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
            )

    @property
    def pid(self) -> int:
        """Of the present or the last incarnation; 0 before the first."""
        return 0 if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: it does nothing, and does not know it."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM: finish the open batch and go. Does not wait."""
        self._signal(signal.SIGTERM)

    def wait_end(self) -> int | None:
        """The exit code after ``terminate``; one that does not go in time is killed, which its code shows."""
        if self._process is None:
            return None
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode

    def log_tail(self) -> str:
        return self._log_path.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:].strip()
