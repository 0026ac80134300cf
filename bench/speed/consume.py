"""Measures of reading a topic from its start, by two clients and by a reader that looks at batch headers only.

With a client the decoding of records in the client is most of the time. What the broker is able to give is seen by
the reader that counts.
"""

from __future__ import annotations

import socket
import struct
import time
import uuid
from collections.abc import Iterator
from typing import Final

from bench.speed import java_tools
from bench.speed.measure import Figures, Measure, Size
from bench.speed.site import PARTITIONS, Site, client
from confluent_kafka import Consumer

ISOLATIONS: Final = ("read_uncommitted", "read_committed")
_TITLES: Final = {"read_uncommitted": "plain", "read_committed": "read_committed"}
_MIB: Final = 1024 * 1024


def _java(site: Site, size: Size, isolation: str) -> Figures:
    topic = _topic(site, size, isolation)
    return {"records/s": java_tools.consume_rate(site.bootstrap, topic, records=size.records, isolation=isolation)}


def _topic(site: Site, size: Size, isolation: str) -> str:
    return site.filled(records=size.records, size_bytes=size.record_bytes, transactional=isolation == "read_committed")


def _librdkafka(site: Site, size: Size, isolation: str) -> Figures:
    topic = _topic(site, size, isolation)
    consumer = Consumer(
        {
            **client(site.bootstrap),
            "group.id": f"bench-{uuid.uuid4()}",
            "auto.offset.reset": "earliest",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            # By default a fetch waits a second whenever 100,000 records are there already: the wait would be measured.
            "queued.min.messages": 1_000_000,
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.subscribe([topic])
    seen = len(consumer.consume(1, timeout=30))  # the join of the group is not the work measured
    started = time.perf_counter()
    while seen < size.records:
        messages = consumer.consume(min(10_000, size.records - seen), timeout=5)  # one for more would wait in vain
        if not messages:
            raise RuntimeError(f"only {seen} of {size.records} records arrived")
        seen += len(messages)
    elapsed = time.perf_counter() - started
    consumer.close()
    return {"records/s": (size.records - 1) / elapsed}


class Counter:
    """Fetches of version 4 over one socket, an answer at a time, of up to 1 MiB for each partition."""

    def __init__(self, address: str, topic: str, *, committed_only: bool = False, partitions: int = PARTITIONS) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answer = self._socket.makefile("rb", buffering=_MIB)
        self._topic = topic.encode()
        self._isolation = int(committed_only)
        self.offsets = dict.fromkeys(range(partitions), 0)
        self.read_bytes = 0

    def fetch(self) -> int:
        """Ask once for more of every partition; the bytes of batches that came."""
        request = struct.pack(">hhihiiiibi", 1, 4, 1, -1, -1, 500, 1, 50 * _MIB, self._isolation, 1)
        request += struct.pack(">h", len(self._topic)) + self._topic + struct.pack(">i", len(self.offsets))
        for index, offset in self.offsets.items():
            request += struct.pack(">iqi", index, offset, _MIB)
        self._socket.sendall(struct.pack(">i", len(request)) + request)
        answer = memoryview(self._answer.read(struct.unpack(">i", self._answer.read(4))[0]))
        at = 4 + 4 + 4 + 2 + len(self._topic)
        (partitions,) = struct.unpack_from(">i", answer, at)
        at += 4
        came = 0
        for _ in range(partitions):
            index, error, _, _, aborted = struct.unpack_from(">ihqqi", answer, at)
            at += 26 + 16 * max(aborted, 0)
            (size,) = struct.unpack_from(">i", answer, at)
            at += 4
            if error:
                raise RuntimeError(f"error {error} for partition {index}")
            self._count(answer[at : at + size], index)
            at += size
            came += size
        self.read_bytes += came
        return came

    def _count(self, batches: memoryview, index: int) -> None:
        at = 0
        while at + 61 <= len(batches):
            base_offset, length = struct.unpack_from(">qi", batches, at)
            if at + 12 + length > len(batches):
                return
            self.offsets[index] = base_offset + struct.unpack_from(">i", batches, at + 23)[0] + 1
            at += 12 + length

    def close(self) -> None:
        self._answer.close()
        self._socket.close()


def _counted(site: Site, size: Size, isolation: str) -> Figures:
    counter = Counter(site.bootstrap, _topic(site, size, isolation), committed_only=isolation == "read_committed")
    started = time.perf_counter()
    while counter.fetch():
        last = time.perf_counter()  # the last one waits in vain
    counter.close()
    return {"MiB/s": counter.read_bytes / _MIB / (last - started)}


def measures(sizes: list[Size]) -> Iterator[Measure]:
    for size in sizes:
        for isolation in ISOLATIONS:
            what = f"consume {size.title}, {_TITLES[isolation]}"
            yield Measure(f"{what}, Java", lambda site, size=size, level=isolation: _java(site, size, level))
            yield Measure(
                f"{what}, librdkafka from Python",
                lambda site, size=size, level=isolation: _librdkafka(site, size, level),
            )
            yield Measure(
                f"{what}, batches counted",
                lambda site, size=size, level=isolation: _counted(site, size, level),
            )
