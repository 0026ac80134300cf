"""Loops of others that are programs of their own: started, watched by what their group commits, and ended.

Owns: their command lines. Must not know: how they are compared.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.loops.job import Job
from bench.speed.java_tools import program
from bench.speed.peers import processor_s
from bench.speed.site import PARTITIONS, TIMEOUT_S, client
from confluent_kafka import Consumer, KafkaException, TopicPartition
from tests.support.toolchains import javac

ROOT: Final = Path(__file__).resolve().parents[2]
QUIX: Final = ROOT / "build" / "quix" / "bin" / "python"
"""The interpreter that ``make bench`` makes: Quix Streams wants another confluent-kafka than ours."""

_LOOK_S: Final = 0.02
_END_S: Final = 30
_ANSWER_S: Final = 10


class Position:
    """How many records of a topic a group has committed.

    It asks as a consumer that never joins: librdkafka's admin client crashes at times when it asks for a group whose
    coordinator is not there yet (2.16.1).
    """

    def __init__(self, bootstrap: str, group: str, topic: str, partitions: int = PARTITIONS) -> None:
        self._consumer = Consumer(client(bootstrap) | {"group.id": group, "isolation.level": "read_uncommitted"})
        self._asked = [TopicPartition(topic, number) for number in range(partitions)]
        self._last = 0

    def records(self) -> int:
        """As of now; while the coordinator is not to be had, as of the last answer."""
        try:
            answered = self._consumer.committed(self._asked, timeout=_ANSWER_S)
        except KafkaException:
            return self._last
        self._last = sum(max(0, one.offset) for one in answered)
        return self._last


@contextmanager
def running(command: Sequence[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is told to end by the end of its standard input, and then by signals."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, **environment},
        )
        try:
            yield process
            if process.poll() is not None:
                said.seek(0)
                raise RuntimeError(f"{command[0]} ended with {process.returncode}: {said.read()[-3000:].decode()}")
        finally:
            if process.stdin is not None:
                process.stdin.close()
            if process.poll() is None and "java" not in command[0]:
                process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def watch(job: Job, process: subprocess.Popen[bytes]) -> None:
    """Count what the group ``job.name`` commits, until that is all, or the program has ended."""
    position, done, deadline = Position(job.bootstrap, job.name, job.source), 0, time.monotonic() + TIMEOUT_S
    while not job.committed(done, lambda: processor_s(process.pid)) and process.poll() is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{done} of {job.records} records were committed in {TIMEOUT_S} s")
        time.sleep(_LOOK_S)
        done = position.records()


class Java:
    """Kafka Streams, ``exactly_once_v2`` in one thread; ``settings`` are what differs from its defaults."""

    def __init__(self, classes: Path) -> None:
        self._path = javac.compile_into(ROOT / "bench" / "loops" / "java", classes)

    def command(self, main_class: str, job: Job, settings: Mapping[str, object]) -> list[str]:
        words = [f"{name}={value}" for name, value in settings.items()]
        return program(self._path, main_class, job.bootstrap, job.name, job.source, job.target, *words)

    def rate(self, job: Job, **settings: object) -> None:
        self._run("Rate", job, settings)

    def count(self, job: Job, **settings: object) -> None:
        self._run("KeyedCount", job, settings)

    def _run(self, main_class: str, job: Job, settings: Mapping[str, object]) -> None:
        named = {name.replace("_", "."): value for name, value in settings.items()}
        with running(self.command(main_class, job, named)) as process:
            watch(job, process)


def contender(job: Job, module: str, *, work: str, python: str = sys.executable) -> None:
    """One of ``bench.contenders`` at the work "rate" or "count", in an interpreter of its own."""
    place = {"BOOTSTRAP": job.bootstrap, "SOURCE": job.source, "SINK": job.target, "GROUP": job.name, "SLOT": "slot-0"}
    environment = {f"VERIFY_{name}": value for name, value in place.items()}
    environment |= {"BENCH_WORK": work, "BENCH_BATCH_RECORDS": str(job.batch_records)}
    with running([python, "-m", f"bench.contenders.{module}"], **environment) as process:
        watch(job, process)


def aiokafka(job: Job) -> None:
    contender(job, "aiokafka_loop", work="rate")


def quix(job: Job, python: str, work: str = "rate") -> None:
    contender(job, "quix_loop", work=work, python=python)


def find_quix(given: str | None) -> str | None:
    """The interpreter for Quix Streams: as given, else the one that ``make bench`` makes, if it is there."""
    return given or (str(QUIX) if QUIX.exists() else None)
