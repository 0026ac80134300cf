"""Clients that are not ours as programs with the same few verbs, so that one suite of tests holds for all of them.

A client program is started as ``PROGRAM VERB ARGUMENTS``, prints one JSON object a line, and ends with 0 if all went
well. Values are decimal numbers as text, in partition 0 unless the broker says otherwise:

``produce BOOTSTRAP TOPIC COUNT``
    Writes 0 to COUNT-1, idempotently, and ends when all are acknowledged.
``consume BOOTSTRAP TOPIC GROUP``
    Reads committed records as a member of the group. Prints ``{"event": "assigned", "partitions": [..]}`` at each
    change and ``{"event": "record", "partition": .., "value": ".."}`` behind each record that it has read *and*
    committed. Leaves the group and ends when its standard input is closed.
``transact BOOTSTRAP TOPIC ID ROUNDS``
    One transaction for each of 0 to ROUNDS-1 with that value; the odd ones are aborted.
``copy BOOTSTRAP SOURCE GROUP TARGET ID COUNT``
    Copies COUNT committed records as a member of the group, in transactions with their offsets, some of them aborted.
``fenced BOOTSTRAP TOPIC ID``
    Writes ``old`` in a transaction, prints ``{"event": "open"}``, waits for a line, and tries to commit. Prints
    ``{"event": "fenced", "error": ".."}`` if that is refused, ``{"event": "committed"}`` if not.

Those in ``THAT_LOG_IN`` use SASL_SSL with SCRAM-SHA-512 if the environment has a ``Login``.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.java import jvm
from tests.support.toolchains import golang, javac, node

from tallystick.processes import end_process

CLIENTS: Final = ("librdkafka", "kafka-python", "aiokafka", "java", "franz-go", "sarama", "kafkajs")

THAT_LOG_IN: Final = ("librdkafka", "kafka-python", "aiokafka", "java", "franz-go")

WAIT_S: Final = 60.0
"""How long a test waits for what must happen; far more than it takes."""

_ROOT: Final = Path(__file__).resolve().parents[2]
_SOURCES: Final = _ROOT / "tests" / "compat" / "clients"


def command_of(client: str, folder: Path) -> list[str]:
    """How to start the client's program; builds it in ``folder`` if it must be built."""
    match client:
        case "librdkafka" | "kafka-python" | "aiokafka":
            return [sys.executable, "-m", f"tests.compat.clients.python.with_{client.replace('-', '_')}"]
        case "java":
            return [*jvm(javac.compile_into(_SOURCES / "java", folder)), "Client"]
        case "franz-go" | "sarama":
            return [str(golang.build(_SOURCES / "go", f"./{client.removesuffix('-go')}", folder))]
        case "kafkajs":
            return [str(node.node()), str(node.packages(_SOURCES / "node") / "client.mjs")]
        case _:
            raise ValueError(f"no client {client!r}")


def streams_command(folder: Path) -> list[str]:
    """How to start the application of Kafka Streams; compiled into ``folder``."""
    return [*jvm(javac.compile_into(_SOURCES / "java", folder)), "Streams"]


@dataclass(frozen=True, slots=True)
class Login:
    """Who a client is, and the authority that signed the broker's certificate."""

    user: str
    password: str
    ca_file: Path

    def environment(self) -> dict[str, str]:
        """Where the programs look for it."""
        return {"CLIENT_USER": self.user, "CLIENT_PASSWORD": self.password, "CLIENT_CA": str(self.ca_file)}


class ForeignClient:
    """The program of one client. ``name`` tells which."""

    def __init__(self, name: str, command: Sequence[str], *, login: Login | None = None) -> None:
        self.name = name
        self._command = list(command)
        self._environment = {} if login is None else login.environment()

    def logged_in(self, login: Login) -> ForeignClient:
        """The same program, under this name."""
        return ForeignClient(self.name, self._command, login=login)

    def run(self, verb: str, *arguments: object) -> None:
        """Run a verb to its end."""
        with self.start(verb, *arguments) as program:
            program.wait()

    @contextmanager
    def start(self, *arguments: object) -> Iterator[Program]:
        """Start a verb with its arguments; killed at the end of the block if it still runs then."""
        program = Program([*self._command, *(str(word) for word in arguments)], self._environment)
        try:
            yield program
        finally:
            program.kill()


class Program:
    """A running client program: the events that it prints, in order."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open while the program lives; `kill` closes it
        self._process = subprocess.Popen(
            command,
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "KAFKAJS_NO_PARTITIONER_WARNING": "1", **environment},
        )
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            if line.startswith(b"{"):
                self._events.put(json.loads(line))
        self._events.put(None)

    def next_event(self, *, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """The next event; fails if the program ends or the time is over."""
        try:
            event = self._events.get(timeout=timeout_s)
        except queue.Empty:
            raise AssertionError(f"the program says nothing for {timeout_s} s: {self._said()}") from None
        if event is None:
            raise AssertionError(f"the program ended with {self._process.wait()}: {self._said()}")
        return event

    def events_so_far(self) -> Iterator[dict[str, Any]]:
        """The events that are there, without waiting."""
        while not self._events.empty():
            yield self.next_event()

    def expect(self, event: str) -> dict[str, Any]:
        """The next event, which must be of this kind."""
        came = self.next_event()
        assert came["event"] == event, came
        return came

    def tell(self) -> None:
        """Say one line, which a program may wait for."""
        if self._process.stdin is not None:
            self._process.stdin.write(b"go on\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """End its standard input, and wait until it ends well."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self.wait()

    def wait(self) -> None:
        """Wait until it ends well."""
        try:
            code = self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the program did not end in {WAIT_S} s: {self._said()}") from None
        assert code == 0, f"the program ended with {code}: {self._said()}"

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        end_process(self._process, signal.SIGKILL, timeout_s=WAIT_S)
        self._reader.join(WAIT_S)
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                pipe.close()

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-3000:].decode(errors="replace")


class Members:
    """Programs that consume as one group: what each has assigned, and what all have read."""

    def __init__(self) -> None:
        self.programs: list[Program] = []
        self.assigned: list[set[int]] = []
        self.values: list[str] = []

    def join(self, program: Program) -> None:
        self.programs.append(program)
        self.assigned.append(set())

    def leave(self) -> None:
        """The newest member goes, in order."""
        self.programs.pop().close()
        self.assigned.pop()

    def until(self, condition: Callable[[], bool], *, timeout_s: float = WAIT_S) -> None:
        """Follow the events until the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not in {timeout_s} s: {self.assigned}, {self.values}"
            for number, program in enumerate(self.programs):
                for event in program.events_so_far():
                    if event["event"] == "assigned":
                        self.assigned[number] = set(event["partitions"])
                    else:
                        self.values.append(event["value"])
            time.sleep(0.02)

    def share(self, partitions: int) -> bool:
        """Whether each partition has one owner and nobody has none."""
        owned = sorted(partition for assigned in self.assigned for partition in assigned)
        return all(self.assigned) and owned == list(range(partitions))
