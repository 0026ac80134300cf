"""Throughput and guarantee with more workers: 1, 2, 4 and 8 processes on 16 partitions of Apache Kafka.

``python -m bench.workers``. The events are written in one transaction that stays open until all workers have their
partitions; with its end all of them are there at once. Measured is the time from there until everything is committed.
Then the outputs are read with ``isolation.level=read_committed`` and their event ids counted: as many as there are
events, and each once. Each round runs each number of workers once, every round beginning with another one.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.loops.job import write
from bench.loops.programs import Position
from bench.loops.rating import GROUP, workers
from bench.speed import command
from bench.speed.peers import PEERS, TITLES
from bench.speed.site import BATCHED, TIMEOUT_S, Site, client
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tallystick.ids import EVENT_ID_HEADER

_PARTITIONS: Final = 16
_WORKERS: Final = (1, 2, 4, 8)
_LOOK_S: Final = 0.02
_STEADY_LOOKS: Final = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    records_per_s: float
    lost: int
    repeated: int


def run(site: Site, number: int, records: int) -> Outcome:
    source, target = site.make_topic(partitions=_PARTITIONS), site.make_topic(partitions=_PARTITIONS)
    group = f"bench-{uuid.uuid4()}"
    position = Position(site.bootstrap, f"{group}.{GROUP.partition('.')[2]}", source, _PARTITIONS)
    writer = Producer(client(site.bootstrap) | BATCHED | {"transactional.id": group, "transaction.timeout.ms": 600_000})
    writer.init_transactions(TIMEOUT_S)
    writer.begin_transaction()
    write(writer, source, records, partitions=_PARTITIONS)
    words = ["--workers", str(number), "--group", group, "--batch-records", "20000"]
    words += ["--producer", "batch.size=1000000", "--producer", "queue.buffering.max.messages=1000000"]
    with (
        tempfile.TemporaryDirectory() as folder,
        workers(site.bootstrap, source, target, Path(folder), *words) as process,
    ):
        _all_have_partitions(site, f"{group}.{GROUP.partition('.')[2]}", number)
        began, deadline = time.perf_counter(), time.monotonic() + TIMEOUT_S
        writer.commit_transaction(TIMEOUT_S)
        while (done := position.records()) < records:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{number} workers committed {done} of {records} records")
            time.sleep(_LOOK_S)
        took_s = time.perf_counter() - began
    found = _ids(site, target)
    unique = len(set(found))
    return Outcome(records / took_s, records - unique, len(found) - unique)


def _all_have_partitions(site: Site, group: str, number: int) -> None:
    """Until the group has so many members, is stable, and stays so for some looks."""
    admin, steady, deadline = AdminClient(client(site.bootstrap)), 0, time.monotonic() + TIMEOUT_S
    while steady < _STEADY_LOOKS:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the group does not come to rest with {number} members")
        time.sleep(_LOOK_S)
        described: Any = admin.describe_consumer_groups([group])[group].result(TIMEOUT_S)
        at_rest = described.state.name == "STABLE" and len(described.members) == number
        steady = steady + 1 if at_rest else 0


def _ids(site: Site, topic: str) -> list[bytes]:
    """The event ids of all outputs that are committed."""
    settings = {"group.id": f"bench-{uuid.uuid4()}", "isolation.level": "read_committed", "enable.auto.commit": False}
    consumer = Consumer(client(site.bootstrap) | settings | {"enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(_PARTITIONS)])
    found, ended, deadline = list[bytes](), 0, time.monotonic() + TIMEOUT_S
    while ended < _PARTITIONS and time.monotonic() < deadline:
        for message in consumer.consume(20_000, 0.1):
            if message.error() is None:
                found += [raw for name, raw in message.headers() or () if name == EVENT_ID_HEADER and raw]
            else:
                ended += 1
    consumer.close()
    return found


def table(found: Mapping[int, Sequence[Outcome]]) -> str:
    lines = ["| workers | records/s | to one worker | lost | repeated |", "| --- | --- | --- | --- | --- |"]
    medians = {number: statistics.median(one.records_per_s for one in outcomes) for number, outcomes in found.items()}
    for number, outcomes in found.items():
        lost, repeated = sum(one.lost for one in outcomes), sum(one.repeated for one in outcomes)
        ratio = medians[number] / medians[min(medians)]
        lines.append(f"| {number} | {medians[number]:,.0f} | {ratio:.2f} | {lost} | {repeated} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = command.parser(__doc__, rounds=3)
    parser.add_argument("--peer", choices=list(PEERS), default="apache", help="the broker (apache)")
    options = parser.parse_args(arguments)
    command.quiet()
    made_on = command.machine()
    numbers = [number for number in _WORKERS if options.only is None or str(number) in options.only.split(",")]
    found: dict[int, list[Outcome]] = {number: [] for number in numbers}
    peer = PEERS[options.peer]()
    try:
        peer.start()
        for turn in range(options.rounds):
            for number in command.in_turn(numbers, turn):
                found[number].append(run(Site(options.peer, peer), number, int(1_000_000 * options.scale)))
    finally:
        peer.close()
    print(f"{TITLES[options.peer]}, {os.cpu_count()} processors. Medians of {options.rounds} rounds. {made_on}\n")
    print(table(found))
    rows: list[Mapping[str, Any]] = [
        {"workers": number, "unit": "records/s", "rounds": [one.records_per_s for one in outcomes]}
        | {"lost": [one.lost for one in outcomes], "repeated": [one.repeated for one in outcomes]}
        for number, outcomes in found.items()
    ]
    command.write(options.json, made_on, rows)


if __name__ == "__main__":
    main()
