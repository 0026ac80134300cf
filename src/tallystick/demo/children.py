"""A process of the run: started, killed on purpose, started again, ended.

Owns: ``Child``. Must not know: what the process does.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tallystick.errors import FatalError
from tallystick.processes import end_process

STOP_TIMEOUT_S: Final = 20.0


class Child:
    """A child process with its output in a log file. SIGTERM at the end, SIGKILL when that takes too long."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self._command = list(command)
        self._log = log
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, extra: Mapping[str, str] | None = None) -> None:
        """Start it; ``extra`` joins the environment of this incarnation only."""
        with self._log.open("ab") as sink:
            self._process = subprocess.Popen(  # noqa: S603  our own command
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env={**os.environ, **self._environment, **(extra or {})},
            )

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return None if self._process is None else self._process.poll()

    @property
    def was_killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.exit_code == -signal.SIGKILL

    def must_run(self) -> None:
        """``FatalError`` with the end of its log if it has ended."""
        code = self.exit_code
        if code is not None:
            tail = self._log.read_text(errors="replace")[-2000:]
            raise FatalError(f"{self.name} ended with {code}; the end of {self._log}:\n{tail}")

    def stop(self) -> None:
        """End it and wait for it."""
        process, self._process = self._process, None
        if process is not None:
            end_process(process, signal.SIGTERM, timeout_s=STOP_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
