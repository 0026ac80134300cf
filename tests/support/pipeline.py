"""What the pipeline's contract tests share: input, output, loops in threads, supervised workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Message
from tests.support.clients import WAIT_S, consumer, producer

from tallystick.pipeline import Emit, ExactlyOnceLoop, Record, places

REPOSITORY = Path(__file__).parents[2]
POINTS = [
    places.AFTER_POLL,
    places.AFTER_BEGIN,
    places.AFTER_PROCESS,
    places.AFTER_PRODUCE,
    places.BEFORE_OFFSETS,
    places.AFTER_OFFSETS,
    places.BEFORE_COMMIT,
    places.AFTER_COMMIT,
]
"""Every place of an exactly-once cycle at which a worker may be killed."""


def put(bootstrap: str, topic: str, values: Iterable[bytes]) -> None:
    """Produce values, the value as key, and wait until all are acknowledged."""
    client = producer(bootstrap)
    for value in values:
        client.produce(topic, value, value)
        client.poll(0)
    assert client.flush(WAIT_S) == 0


def read_until(
    bootstrap: str, topics: str | Sequence[str], done: Callable[[list[Message]], bool], *, quiet_s: float = 1.0
) -> list[Message]:
    """Committed messages until ``done``, and then whatever still comes until nothing has come for ``quiet_s``."""
    names = [topics] if isinstance(topics, str) else list(topics)
    messages: list[Message] = []
    with consumer(bootstrap, f"reader-{time.time_ns()}", isolation_level="read_committed") as reader:
        reader.subscribe(names)
        deadline = time.monotonic() + WAIT_S
        last = time.monotonic()
        while not done(messages) or time.monotonic() - last < quiet_s:
            assert time.monotonic() < deadline, f"{len(messages)} messages of {names} came in {WAIT_S} s"
            for message in reader.consume(500, 0.2):
                error = message.error()
                if error is None:
                    messages.append(message)
                    last = time.monotonic()
                else:
                    assert error.retriable() or error.name() == "UNKNOWN_TOPIC_OR_PART", error
    return messages


def values(messages: Iterable[Message]) -> list[bytes]:
    return [message.value() or b"" for message in messages]


def header(message: Message, name: str) -> bytes:
    """A header's value; a failure if there is none."""
    value = dict(message.headers() or [])[name]
    assert isinstance(value, bytes)
    return value


class RunningLoop:
    """An ``ExactlyOnceLoop`` in a thread; ``raised`` is what ended it."""

    def __init__(
        self,
        bootstrap: str,
        name: str,
        topic: str,
        handler: Callable[[Record], Emit | Iterable[Emit] | None] | None = None,
        *,
        slot: str = "slot-0",
        consumer_config: dict[str, Any] | None = None,
        producer_config: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        session = {"session.timeout.ms": 8000, "heartbeat.interval.ms": 500}
        by_broker = (consumer_config or {}).get("group.protocol") == "consumer"
        self.loop = ExactlyOnceLoop(
            {
                "bootstrap.servers": bootstrap,
                "group.id": name,
                "group.instance.id": slot,
                **({} if by_broker else session),
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
                **(consumer_config or {}),
            },
            {
                "transactional.id": f"{name}/{slot}",
                "transaction.timeout.ms": 5000 if by_broker else 7000,
                "reconnect.backoff.max.ms": 500,
                # With 100 ms, small transactions on Apache Kafka come to ten a second: each waits for the markers of
                # the one before it.
                "retry.backoff.ms": 10,
                **(producer_config or {}),
            },
            [topic],
            handler=handler,
            **options,
        )
        self.raised: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def join(self) -> None:
        self._thread.join(WAIT_S)
        assert self.ended, "the loop did not end"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.stop()
        self.join()

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:  # noqa: BLE001  # handed to the test
            self.raised = error
            traceback.print_exception(error)


class SupervisedWorkers:
    """``tallystick run``'s supervisor as a child process, over ``tests.support.pipeline_app``."""

    def __init__(
        self,
        bootstrap: str,
        prefix: str,
        folder: Path,
        *,
        workers: int = 1,
        kill_at: str | None = None,
        guarantee: str = "exactly-once",
        lanes: int = 1,
        partitions: int = 2,
        on_failure: str = "dead-letter",
        app: str = "tests.support.pipeline_app:build",
        options: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.kill_log = folder / "kills.jsonl"
        environment = {
            **os.environ,
            "PIPELINE_TEST_PREFIX": prefix,
            "PIPELINE_TEST_GUARANTEE": guarantee,
            "PIPELINE_TEST_PARTITIONS": str(partitions),
            "PIPELINE_TEST_ON_FAILURE": on_failure,
            "TALLYSTICK_KILL_LOG": str(self.kill_log),
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "src")]),
        }
        if kill_at is not None:
            environment["TALLYSTICK_KILL_AT"] = kill_at
        options = [
            *options,
            "--bootstrap",
            bootstrap,
            "--workers",
            str(workers),
            "--slot-prefix",
            "w",
            "--batch-records",
            "50",
        ]
        options += ["--run-dir", str(folder), "--stats-dir", str(folder / "stats"), "--commit-interval-ms", "50"]
        transaction_ms = 5_000  # the brokers of the tests have sessions of 6 s
        if "--group-protocol" not in options:
            options += ["--consumer", "session.timeout.ms=8000", "--consumer", "heartbeat.interval.ms=500"]
            transaction_ms = 7_000
        options += ["--producer", f"transaction.timeout.ms={transaction_ms}", "--lanes", str(lanes)]
        code = "import typer; from tallystick.cli.run import run; typer.run(run)"
        command = [sys.executable, "-c", code, app, *options]
        with (folder / "log.jsonl").open("w") as log:
            self._process = subprocess.Popen(command, env=environment, stderr=log, cwd=folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(WAIT_S)

    def pid(self, slot: str) -> int | None:
        """The process of a slot, None before it started."""
        try:
            return int((self.folder / f"{slot}.pid").read_text())
        except FileNotFoundError:
            return None

    def kill(self, slot: str) -> int:
        """SIGKILL the slot's process; its pid."""
        pid = self.pid(slot)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_supervisor(self) -> None:
        self._process.kill()
        self._process.wait(WAIT_S)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """The exit code, once the supervisor has ended."""
        return self._process.wait(WAIT_S)

    def kills(self) -> list[str]:
        """Kill points that were hit."""
        if not self.kill_log.exists():
            return []
        return [json.loads(line)["kill_point"] for line in self.kill_log.read_text().splitlines()]

    def log_events(self) -> list[dict[str, Any]]:
        lines = (self.folder / "log.jsonl").read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line[:1] == "{" and line[-1] == "\n"]  # one may be half written

    def stats(self, slot: str) -> list[dict[str, Any]]:
        path = self.folder / "stats" / f"{slot}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]
