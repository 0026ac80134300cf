"""What one request costs a broker: its processor time, with a client that costs it nothing else.

``python -m bench.requests``. Requests are encoded beforehand and sent over one socket, up to five ahead of their
answers, as Java's producer does; transactions and fetches one at a time. Each row is taken of each broker in turn, and
the median of the rounds is printed in microseconds: of the processor, of the user's and the kernel's time together, so
that it hardly depends on what else the machine does. It says nothing of how long an answer takes.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from bench.speed.peers import PEERS, TITLES, processor_s
from bench.speed.report import machine
from bench.speed.site import Site
from tests.support.wire import WireClient, request

from tallystick.wire import schema
from tallystick.wire.frames import LENGTH_BYTES, read_response, write_request
from tallystick.wire.records import BatchSpec, encode_batch

AHEAD: Final = 5
_NOT_COUNTED: Final = 200
_MINUTE: Final = timedelta(minutes=1)
_TRANSACTIONAL_ID: Final = "bench/requests"


class Line:
    """One socket, on which answers are read and not looked at."""

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")
        self.last = b""

    def send(self, frames: Iterable[bytes], *, ahead: int) -> None:
        out = 0
        for frame in frames:
            self._socket.sendall(frame)
            out += 1
            if out == ahead:
                self._read()
                out -= 1
        for _ in range(out):
            self._read()

    def _read(self) -> None:
        self.last = self._answers.read(int.from_bytes(self._answers.read(LENGTH_BYTES), "big"))

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Work:
    """``frames`` makes what is sent, ``count`` times and a few before; ``check`` looks at the last answer.

    ``without`` names brokers that do not take it.
    """

    what: str
    count: int
    ahead: int
    frames: Callable[[Site, int], list[list[bytes]]]
    check: Callable[[bytes], bool]
    without: tuple[str, ...] = ()


def _producer(site: Site, transactional_id: str | None) -> Any:
    with WireClient(site.bootstrap) as client:
        if transactional_id is not None:
            client.ask("find_coordinator", 3, key=transactional_id, key_type=1)
        return client.ask(
            "init_producer_id", 4, transactional_id=transactional_id, transaction_timeout=_MINUTE, producer_id=-1,
            producer_epoch=-1,
        )  # fmt: skip


def _produce(topic: str, batches: dict[int, bytes], transactional_id: str | None = None) -> bytes:
    build = schema.request("produce", 11)
    rows = tuple(build.PartitionProduceData(index=index, records=batch) for index, batch in batches.items())
    data = (build.TopicProduceData(name=topic, partition_data=rows),)
    message = build.ProduceRequest(transactional_id=transactional_id, acks=-1, timeout=_MINUTE, topic_data=data)
    return write_request(1, "bench", message)


def _batches(partitions: int, records: int, record_bytes: int) -> Callable[[Site, int], list[list[bytes]]]:
    def frames(site: Site, count: int) -> list[list[bytes]]:
        topic, owner = site.make_topic(), _producer(site, None)
        content = [(None, bytes(record_bytes))] * records

        def batch(number: int) -> bytes:
            spec = BatchSpec(
                producer_id=owner.producer_id, producer_epoch=owner.producer_epoch, base_sequence=number * records
            )
            return encode_batch(content, spec)

        return [[_produce(topic, dict.fromkeys(range(partitions), batch(number)))] for number in range(count)]

    return frames


def _transactions(site: Site, count: int) -> list[list[bytes]]:
    """The five requests of librdkafka's transaction of one record with an offset (transaction version 1)."""
    topic, owner = site.make_topic(), _producer(site, _TRANSACTIONAL_ID)
    identity = {"producer_id": owner.producer_id, "producer_epoch": owner.producer_epoch}
    commit, add = schema.request("txn_offset_commit", 3), schema.request("add_partitions_to_txn", 0)

    def five(number: int) -> list[bytes]:
        spec = BatchSpec(**identity, base_sequence=number, transactional=True)
        offset = commit.TxnOffsetCommitRequestPartition(
            partition_index=0, committed_offset=number, committed_leader_epoch=-1, committed_metadata=None
        )
        messages = [
            request("add_offsets_to_txn", 0, transactional_id=_TRANSACTIONAL_ID, group_id="bench", **identity),
            request(
                *("txn_offset_commit", 3),
                transactional_id=_TRANSACTIONAL_ID,
                group_id="bench",
                generation_id=-1,
                member_id="",
                group_instance_id=None,
                topics=(commit.TxnOffsetCommitRequestTopic(name=topic, partitions=(offset,)),),
                **identity,
            ),
            request(
                *("add_partitions_to_txn", 0),
                v3_and_below_transactional_id=_TRANSACTIONAL_ID,
                v3_and_below_topics=(add.AddPartitionsToTxnTopic(name=topic, partitions=(0,)),),
                **{f"v3_and_below_{name}": value for name, value in identity.items()},
            ),
        ]
        before = [write_request(1, "bench", message) for message in messages]
        written = _produce(topic, {0: encode_batch([(None, bytes(100))], spec)}, _TRANSACTIONAL_ID)
        end = request("end_txn", 1, transactional_id=_TRANSACTIONAL_ID, committed=True, **identity)
        return [*before, written, write_request(1, "bench", end)]

    return [five(number) for number in range(count)]


def _fetches(partitions: int) -> Callable[[Site, int], list[list[bytes]]]:
    def frames(site: Site, count: int) -> list[list[bytes]]:
        build = schema.request("fetch", 11)
        rows = tuple(
            build.FetchPartition(partition=index, fetch_offset=0, partition_max_bytes=1 << 20, log_start_offset=-1)
            for index in range(partitions)
        )
        message = build.FetchRequest(
            max_wait=timedelta(milliseconds=2),
            min_bytes=1,
            isolation_level=0,
            session_epoch=-1,
            topics=(build.FetchTopic(topic=site.make_topic(partitions=partitions), partitions=rows),),
            forgotten_topics_data=(),
            rack_id="",
        )
        return [[write_request(1, "bench", message)]] * count

    return frames


def _is_written(answer: bytes) -> bool:
    (topic,) = read_response(answer, 0, 11)[1].responses
    return all(row.error_code == 0 for row in topic.partition_responses)


def _is_empty(answer: bytes) -> bool:
    (topic,) = read_response(answer, 1, 11)[1].responses
    return all(row.error_code == 0 and not row.records for row in topic.partitions)


def _is_committed(answer: bytes) -> bool:
    return bool(read_response(answer, 26, 1)[1].error_code == 0)


WORKS: Final = [
    Work("produce, 4 batches of 16 KiB", 2_000, AHEAD, _batches(4, 15, 1_024), _is_written),
    Work("produce, a record of 100 B", 4_000, AHEAD, _batches(1, 1, 100), _is_written),
    Work(
        *("a transaction of 1 record with an offset, 5 requests", 1_000, 1, _transactions, _is_committed),
        without=("apache",),  # it wants to be asked again while the last transaction's markers are written
    ),
    Work("fetch of 10 partitions without news", 1_000, 1, _fetches(10), _is_empty),
]


def measure(site: Site, work: Work) -> float:
    """Microseconds of the broker's processor time for each piece of the work."""
    pieces = work.frames(site, _NOT_COUNTED + work.count)
    line = Line(site.bootstrap)
    line.send((frame for piece in pieces[:_NOT_COUNTED] for frame in piece), ahead=work.ahead)
    before = processor_s(site.peer.pid)
    line.send((frame for piece in pieces[_NOT_COUNTED:] for frame in piece), ahead=work.ahead)
    used = processor_s(site.peer.pid) - before
    line.close()
    if not work.check(line.last):
        raise RuntimeError(f"{work.what}: the last answer is not what it should be")
    return used * 1e6 / work.count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each row is taken of each broker (5)")
    parser.add_argument("--peers", default=",".join(PEERS), help=f"whom to measure ({','.join(PEERS)})")
    parser.add_argument("--only", help="rows whose description contains this")
    options = parser.parse_args()
    peers = {name: PEERS[name]() for name in options.peers.split(",")}
    works = [work for work in WORKS if options.only is None or options.only in work.what]
    try:
        for peer in peers.values():
            peer.start()
        print(f"Medians of {options.rounds} rounds, in microseconds of processor time. {machine()}\n")
        print(f"| | {' | '.join(TITLES[name] for name in peers)} |\n|{' --- |' * (1 + len(peers))}")
        for work in works:
            found: dict[str, list[float]] = {name: [] for name in peers}
            for number in range(options.rounds):
                print(f"{work.what}, round {number + 1}", file=sys.stderr, flush=True)
                for name, peer in peers.items():
                    if name not in work.without:
                        found[name].append(measure(Site(name, peer), work))
            cells = (f"{statistics.median(values):.0f}" if values else "" for values in found.values())
            print(f"| {work.what} | {' | '.join(cells)} |", flush=True)
    finally:
        for peer in peers.values():
            peer.close()


if __name__ == "__main__":
    main()
