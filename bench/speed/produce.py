"""Measures of producing: idempotent, acks=all, until the last record is acknowledged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final

from bench.speed import java_tools
from bench.speed.measure import Figures, Measure, Size
from bench.speed.site import Site, fill_plainly

JAVA_BATCHED: Final = {"batch.size": 262_144, "linger.ms": 5, "buffer.memory": 67_108_864}
JAVA_DEFAULTS: Final[Mapping[str, object]] = {}


def _librdkafka(site: Site, size: Size) -> Figures:
    with site.topic() as topic:
        started = time.perf_counter()
        fill_plainly(site.bootstrap, topic, records=size.records, size_bytes=size.record_bytes)
        return {"records/s": size.records / (time.perf_counter() - started)}


def _java(site: Site, size: Size, settings: Mapping[str, object]) -> Figures:
    with site.topic() as topic:
        rate = java_tools.produce_rate(
            site.bootstrap, topic, records=size.records, size_bytes=size.record_bytes, settings=settings
        )
        return {"records/s": rate}


def measures(sizes: list[Size]) -> Iterator[Measure]:
    for size in sizes:
        yield Measure(f"produce {size.title}, librdkafka", lambda site, size=size: _librdkafka(site, size))
        yield Measure(f"produce {size.title}, Java", lambda site, size=size: _java(site, size, JAVA_BATCHED))
        yield Measure(
            f"produce {size.title}, Java with batches of 16 KiB",
            lambda site, size=size: _java(site, size, JAVA_DEFAULTS),
        )
