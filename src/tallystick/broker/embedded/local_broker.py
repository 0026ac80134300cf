"""A broker of one's own, wherever it runs: what ``EmbeddedBroker`` and ``InProcessBroker`` have in common.

Owns: folder, port, topics, faults, the ``with`` block. Must not know: processes, threads, the broker's inside.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

from tallystick.broker.control.faults import Faults
from tallystick.broker.control.messages import Command, CreateTopic, DeleteTopic
from tallystick.broker.embedded.run import Ending, Run
from tallystick.broker.faults.plan import FaultPlan
from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.errors import ConfigurationError, TallystickError

_LOG_TAIL_CHARACTERS: Final = 2_000
_NOTHING_GIVEN: Final[Mapping[str, str]] = MappingProxyType({})


class BrokerDidNotStart(TallystickError):
    """The broker ended or stayed silent; the message holds the end of its log."""


class LocalBroker(ABC):
    """A broker of one's own: ``with EmbeddedBroker() as broker: ... broker.bootstrap``. Also ``async with``.

    ``settings`` are broker configurations under Apache Kafka's names. ``options`` are further ones of the command line;
    listeners among them are opened instead of the one on ``host``, and ``ports`` has the port of each by its name.

    ``data`` None is a temporary folder that goes at the end of the ``with`` block. ``port`` 0 is any free one, and
    stays the same over ``restart``. ``log_path`` has its log. ``recovery`` is what the last start found.

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
        self.ports: dict[str, int] = {}
        self.recovery: dict[str, Any] = {}
        self._settings = dict(settings)
        try:
            self._fsync = None if fsync is None else FsyncPolicy(fsync)
        except ValueError:
            raise ConfigurationError(f"fsync {fsync!r} is none of {', '.join(FsyncPolicy)}") from None
        self._num_partitions = num_partitions
        self._options = tuple(options)
        self.faults = Faults(FaultPlan() if faults is None else faults)
        self._run: Run | None = None

    @abstractmethod
    def _launch(self, arguments: list[str]) -> Run:
        """A run that is ready; ``BrokerDidNotStart``. ``arguments`` are those of ``python -m tallystick.broker``."""

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients; only after ``start``."""
        if self.port == 0:
            raise ConfigurationError("the broker has no port before it is started")
        return self._address()

    def _address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether it is started, and not stopped, killed or dead."""
        return self._run is not None and not self._run.await_own_end()

    def start(self) -> None:
        """Start it, also after a fault has killed it, and wait until it listens.

        ``BrokerDidNotStart`` with its last words if it does not.
        """
        if self._run is not None and self._run.await_own_end():
            self._end(Ending.KILL)
        if self._run is not None:
            raise ConfigurationError("the broker runs already")
        run = self._run = self._launch(self._arguments())
        self.port, self.ports, self.recovery = run.ready.port, run.ready.ports, run.ready.recovery
        self.faults.connect(run)

    def stop(self) -> None:
        """End it in order; does nothing if it does not run."""
        self._end(Ending.STOP)

    def kill(self) -> None:
        """End it as SIGKILL does: what an out-of-memory kill looks like to the broker."""
        self._end(Ending.KILL)

    def _end(self, how: Ending) -> None:
        run, self._run = self._run, None
        if run is not None:
            self.faults.disconnect(run.end(how))

    def restart(self) -> None:
        """Stop if it runs, and start on the same port and data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Answer nothing, on any connection, until ``resume``; time goes on."""
        self.faults.pause()

    def resume(self) -> None:
        """End a pause."""
        self.faults.resume()

    def create_topic(
        self, name: str, *, partitions: int | None = None, configs: Mapping[str, str] = _NOTHING_GIVEN
    ) -> str:
        """Make a topic, and return its name. ``ConfigurationError`` says why it cannot be made."""
        self._do(CreateTopic(name, partitions, dict(configs)))
        return name

    def delete_topic(self, name: str) -> None:
        """Delete a topic with its data and its committed offsets; ``ConfigurationError`` if there is none."""
        self._do(DeleteTopic(name))

    def _do(self, command: Command) -> None:
        reply = None if self._run is None else self._run.ask(command)
        if reply is None:
            raise ConfigurationError("the broker does not run")
        if reply.error:
            raise ConfigurationError(reply.error)

    def log_tail(self) -> str:
        """The end of its log."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:].strip()

    def _arguments(self) -> list[str]:
        arguments = ["--data", str(self.data), *self._listeners()]
        arguments += [f"--set={name}={value}" for name, value in self._settings.items()]
        if self._fsync is not None:
            arguments += ["--fsync", str(self._fsync)]
        if self._num_partitions is not None:
            arguments += ["--num-partitions", str(self._num_partitions)]
        return arguments

    def _listeners(self) -> list[str]:
        """The options, in which ports that were free at the first start stay what they became."""
        if "--listen" not in self._options:
            return ["--listen", self._address(), *self._options]
        options = list(self._options)
        for at, option in enumerate(options):
            name, slashes, _ = option.partition("://")
            if slashes and options[at - 1] == "--listen" and name in self.ports:
                options[at] = f"{option.rpartition(':')[0]}:{self.ports[name]}"
        return options

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._temporary, ignore_errors=True)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)
