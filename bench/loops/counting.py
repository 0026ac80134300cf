"""Counting by key with a changelog, exactly-once: by hand, with Tallystick, and with Kafka Streams.

Owns: the three programs. Must not know: how they are compared (``bench.state``). Each reads ``job.source``, keeps a
count for each key of a partition, and writes each key's last count of a transaction to a changelog in it.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from bench.loops.hand import loop
from bench.loops.job import Job
from bench.loops.ours import run_app
from bench.speed.site import TIMEOUT_S, client
from confluent_kafka import ConsumerGroupTopicPartitions, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tallystick.pipeline import App, Context, Store, Topic

_LOOK_S: Final = 0.02


def by_hand(job: Job) -> None:
    """Counts in a dictionary, lost with the process: no restore, no local copy, and an abort would leave them wrong."""
    counts: dict[int, dict[bytes, int]] = defaultdict(dict)

    def write(producer: Producer, target: str, messages: Sequence[Message]) -> None:
        changed: dict[tuple[int, bytes], int] = {}
        for message in messages:
            number, key = int(message.partition() or 0), bytes(message.key() or b"")
            mine = counts[number]
            changed[number, key] = mine[key] = mine.get(key, 0) + 1
        for (number, key), count in changed.items():
            producer.produce(target, b"%d" % count, key, number)

    loop(job, write)


def with_tallystick(job: Job, lanes: int = 1) -> None:
    """A decorated function with a store; local copies in a temporary folder."""
    counts = Store("counts", key=bytes, value=int)
    app = App(job.name)

    @app.step(source=Topic(job.source, bytes), state=[counts])
    def count(_value: bytes, context: Context) -> None:
        mine, key = context.state(counts), context.key or b""
        mine[key] = mine.get(key, 0) + 1

    run_app(app, job, lanes)


def with_kafka_streams(job: Job, command: list[str]) -> None:
    """``exactly_once_v2``, one thread, RocksDB and the cache as they are by default."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*command, job.bootstrap, job.name, job.source, folder]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as program:
            _watch(job, program)


def _watch(job: Job, program: subprocess.Popen[bytes]) -> None:
    """Count what its group committed, until that is all."""
    admin = AdminClient(client(job.bootstrap))
    asked = [ConsumerGroupTopicPartitions(job.name, [TopicPartition(job.source, number) for number in range(4)])]
    done, deadline = 0, time.monotonic() + TIMEOUT_S
    while not job.committed(done):
        if program.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Kafka Streams committed {done} of {job.records} records")
        time.sleep(_LOOK_S)
        done = _committed(admin, asked)
    if program.stdin is not None:
        program.stdin.close()
    program.wait(TIMEOUT_S)


def _committed(admin: AdminClient, asked: list[ConsumerGroupTopicPartitions]) -> int:
    (future,) = admin.list_consumer_group_offsets(asked).values()
    answered: Any = future.result()
    return sum(max(0, one.offset) for one in answered.topic_partitions)
