"""Measures of what a broker takes: idle, after much went through it, and until it is ready.

Each runs on a broker of its own.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Final

from bench.speed.measure import Figures, Measure
from bench.speed.peers import memory_mib, processor_s
from bench.speed.site import TIMEOUT_S, Site, client, fill_plainly
from confluent_kafka import Consumer

_GIB: Final = 1024 * 1024 * 1024
_TOPICS: Final = 10
_PARTITIONS_EACH: Final = 100
_CONSUMERS_EACH: Final = 10
_SETTLED_S: Final = 10
_WATCHED_S: Final = 20


def _ready_when_empty(site: Site) -> Figures:
    """The second start: the first one also formats the folder."""
    site.peer.halt()
    return _started(site)


def _started(site: Site) -> Figures:
    started = time.perf_counter()
    site.peer.start()
    return {"s": time.perf_counter() - started}


def _a_gib(site: Site) -> None:
    fill_plainly(site.bootstrap, site.make_topic(), records=_GIB // 1024, size_bytes=1024)


def _memory_after_a_gib(site: Site) -> Figures:
    _a_gib(site)
    return {"MiB": memory_mib(site.peer.pid)}


def _ready_after_a_gib_and_a_kill(site: Site) -> Figures:
    _a_gib(site)
    site.peer.kill()
    return _started(site)


def _idle(site: Site) -> Figures:
    """1,000 partitions and 100 members in ten groups that have read all there is, which is nothing.

    Groups of ten librdkafka members that join at once do not settle on kfake.
    """
    consumers = []
    for _ in range(_TOPICS):
        topic, group = site.make_topic(partitions=_PARTITIONS_EACH), f"bench-{uuid.uuid4()}"
        for _ in range(_CONSUMERS_EACH):
            consumers.append(Consumer(client(site.bootstrap) | {"group.id": group}))
            consumers[-1].subscribe([topic])
    deadline = time.monotonic() + TIMEOUT_S
    share = _PARTITIONS_EACH // _CONSUMERS_EACH
    while any(len(consumer.assignment()) != share for consumer in consumers):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the groups are not settled after {TIMEOUT_S} s")
        for consumer in consumers:
            consumer.poll(0.001)
    time.sleep(_SETTLED_S)
    before, since = processor_s(site.peer.pid), time.monotonic()
    time.sleep(_WATCHED_S)
    used = (processor_s(site.peer.pid) - before) / (time.monotonic() - since)
    memory = memory_mib(site.peer.pid)
    for consumer in consumers:
        consumer.close()
    return {"MiB": memory, "ms of processor time a second": used * 1000}


def measures() -> Iterator[Measure]:
    yield Measure("ready after start, empty", _ready_when_empty, alone=True)
    yield Measure("ready after 1 GiB and kill -9", _ready_after_a_gib_and_a_kill, alone=True)
    yield Measure("memory after 1 GiB", _memory_after_a_gib, alone=True)
    yield Measure("1,000 partitions, 100 idle consumers", _idle, alone=True, without=("kfake",))
