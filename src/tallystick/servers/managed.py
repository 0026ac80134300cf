"""What both servers have in common: a folder that may be temporary, one process, and a ``with`` block.

Owns: the folder's life, stop, kill and restart. Must not know: how a server is set up and started.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from tallystick.servers.process import ChildServer, ServerFailed

_STOP_TIMEOUT_S: Final = 20.0


class ManagedServer:
    """A context manager around one server; subclasses say how it starts.

    ``data`` None means a temporary folder that ``stop`` removes.
    """

    _name: ClassVar[str]
    _temporary_prefix: ClassVar[str]
    _stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, data: Path | None) -> None:
        self._given_data = data
        self._server: ChildServer | None = None
        self._home: Path | None = None
        self._port = 0

    @property
    def pid(self) -> int:
        """The process id, for a test that wants to stop it its own way."""
        return self._running().pid

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self._folder() / "server.log"

    def start(self) -> Self:
        """Start and wait until it answers; ``ServerFailed`` with the last log lines if it does not."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop in order, then remove the data if it is temporary."""
        if self._server is not None:
            self._server.signal_and_wait(self._stop_signal, timeout_s=_STOP_TIMEOUT_S)
            self._server = None
        if self._given_data is None and self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def kill(self) -> None:
        """SIGKILL. The data stays for ``restart``."""
        self._running().kill()

    def restart(self) -> Self:
        """Start again on the same port and data, after ``kill`` or from running."""
        self._running().signal_and_wait(self._stop_signal, timeout_s=_STOP_TIMEOUT_S)
        return self.start()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _not_started(self) -> ServerFailed:
        return ServerFailed(f"{self._name} was not started yet")

    def _running(self) -> ChildServer:
        if self._server is None:
            raise self._not_started()
        return self._server

    def _folder(self) -> Path:
        if self._home is None:
            self._home = self._given_data or Path(tempfile.mkdtemp(prefix=self._temporary_prefix))
            self._home.mkdir(parents=True, exist_ok=True)
            self._prepare_folder(self._home)
        return self._home

    def _prepare_folder(self, home: Path) -> None:
        """Make a new folder fit for the server."""
