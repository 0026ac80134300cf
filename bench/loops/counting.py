"""Counting by key with a changelog, exactly-once: by hand, and with Tallystick.

Owns: the two programs. Must not know: how they are compared (``bench.state``), those of others (``programs``). Each
reads ``job.source``, keeps a count for each key of a partition, and writes each key's last count of a transaction to a
changelog in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from bench.loops.hand import loop
from bench.loops.job import Job
from bench.loops.ours import run_app
from confluent_kafka import Message, Producer

from tallystick.pipeline import App, Context, Store, Topic


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
