"""A server as a child process: start it, wait until it answers, stop it, kill it.

Owns: the child process, its log file and the deadlines. Must not know: which server it is.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tallystick.errors import ConfigurationError, FatalError
from tallystick.processes import end_process

LOG_TAIL_LINES: Final = 25
"""How many of the last log lines an error carries."""

_POLL_INTERVAL_S: Final = 0.05

_GUARD: Final = ("/bin/sh", "-c", 'read -r _; kill -9 "$1"', "guard")
"""Waits until the other end of its stdin closes, which the end of the caller does, then kills the process named."""


class ServerFailed(FatalError):
    """A server did not start, or died. The message ends with the last lines of its log."""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now. It can be taken before it is used, so callers retry."""
    (port,) = free_ports(1)
    return port


def free_ports(count: int) -> list[int]:
    """As many, no two the same: one that was looked at before can be found free again."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def log_tail(path: Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last ``lines`` lines of a log file, or a sentence that says that there is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return f"(no log at {path})"
    return "\n".join(text.splitlines()[-lines:]) or f"(the log at {path} is empty)"


@dataclass(frozen=True, slots=True)
class User:
    """The operating-system user that a child process runs as, where it is not the caller's own."""

    uid: int
    gid: int


@dataclass(slots=True)
class ChildServer:
    """One child process with its log; at most one runs at a time.

    ``name`` is what errors call it. The process gets its own session, so that Ctrl-C in a terminal reaches only the
    caller, who then stops the servers in the right order. Whatever still runs when the caller ends is killed, however
    the caller ends: a guard, a shell that waits at a pipe, notices even a SIGKILL.
    """

    name: str
    command: Sequence[str]
    log: Path
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: User | None = None
    _process: subprocess.Popen[bytes] | None = None
    _guard: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; ``ServerFailed`` if it does not run."""
        if self._process is None:
            raise ServerFailed(f"{self.name} is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; returns before it is ready. Starting twice is a ``ConfigurationError``."""
        if self.is_running:
            raise ConfigurationError(f"{self.name} is running already")
        self._dismiss_guard()  # of a process that ended by itself
        environment = {**os.environ, **self.environment}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is built by this package, no shell
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.cwd,
                env=environment,
                start_new_session=True,
                user=self.user.uid if self.user else None,
                group=self.user.gid if self.user else None,
                extra_groups=[] if self.user else None,
            )
        self._guard = subprocess.Popen(  # noqa: S603
            [*_GUARD, str(self._process.pid)], stdin=subprocess.PIPE, cwd="/", start_new_session=True
        )
        atexit.register(self.kill)

    def wait_until(self, ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait until ``ready()`` is true; ``ServerFailed`` if the process ends before or time runs out."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.is_running:
                self._dismiss_guard()
                status = self._process.returncode if self._process else None
                raise ServerFailed(f"{self.name} ended with status {status} before it was ready:\n{log_tail(self.log)}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self.name} was not ready within {timeout_s:.0f} s:\n{log_tail(self.log)}")
            time.sleep(_POLL_INTERVAL_S)

    def signal_and_wait(self, number: signal.Signals, *, timeout_s: float) -> None:
        """Send a signal and wait for the end; after ``timeout_s`` the process is killed."""
        process = self._process
        if process is None:
            return
        self._dismiss_guard()
        end_process(process, number, timeout_s=timeout_s)
        self._process = None
        atexit.unregister(self.kill)

    def _dismiss_guard(self) -> None:
        # Before the server is waited for: from then on its process id may be another process's.
        guard, self._guard = self._guard, None
        if guard is None:
            return
        guard.kill()
        guard.wait()
        if guard.stdin is not None:
            guard.stdin.close()

    def kill(self) -> None:
        """SIGKILL, as the kernel's out-of-memory killer would do it, and wait for the end."""
        self.signal_and_wait(signal.SIGKILL, timeout_s=30)
