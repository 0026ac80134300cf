"""The sandbox as a child process, for tests and demonstrations.

Owns: starting, killing and restarting it on the same port and data. Must not know: what the server does inside.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tallystick.errors import FatalError
from tallystick.processes import end_process
from tallystick.sandbox.control import SandboxControl

START_TIMEOUT_S: Final = 20.0
STOP_TIMEOUT_S: Final = 10.0


class SandboxProcess(SandboxControl):
    """``python -m tallystick.sandbox`` in a ``with`` block; loopback only."""

    def __init__(
        self,
        data: Path | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        faults: Mapping[str, Any] | None = None,
        window_ms: int = 86_400_000,
    ) -> None:
        """``data`` None: a temporary folder, removed at the end. ``faults`` as ``POST /_sandbox/faults`` takes them."""
        self._temporary = tempfile.TemporaryDirectory(prefix="tallystick-sandbox-") if data is None else None
        self.data = Path(self._temporary.name) if self._temporary else Path(str(data))
        self.host = host
        self.port = port
        self._seed = seed
        self._faults = dict(faults or {})
        self._window_ms = window_ms
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The child's process id; ``FatalError`` if it does not run."""
        if self._process is None:
            raise FatalError("the sandbox is not running")
        return self._process.pid

    def start(self) -> SandboxProcess:
        """Start and wait until it listens; ``FatalError`` with its log if it does not."""
        if self._process is not None:
            raise FatalError("the sandbox runs already")
        self.data.mkdir(parents=True, exist_ok=True)
        ready = self.data / "ready.json"
        ready.unlink(missing_ok=True)
        log = self.data / "sandbox.log"
        command = [sys.executable, "-m", "tallystick.sandbox", "--listen", f"{self.host}:{self.port}"]
        command += ["--data", str(self.data), "--seed", str(self._seed), "--window-ms", str(self._window_ms)]
        command += ["--ready-file", str(ready)]
        if self._faults:
            faults = self.data / "faults.json"
            faults.write_text(json.dumps(self._faults))
            command += ["--faults", str(faults)]
        with log.open("ab") as sink:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)  # noqa: S603
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise FatalError(f"the sandbox did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.01)
        self.port = int(json.loads(ready.read_text())["port"])
        return self

    def stop(self) -> None:
        """SIGTERM, then SIGKILL if that takes too long."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def restart(self) -> SandboxProcess:
        """Start again on the same port and data; stops it first if it runs."""
        self.stop()
        return self.start()

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        end_process(process, number, timeout_s=STOP_TIMEOUT_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()
