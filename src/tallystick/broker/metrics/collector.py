"""The node in Prometheus' form, read off when somebody asks.

Owns: the names of metrics, their labels and help texts. Must not know: HTTP. It runs in the loop that owns the node's
state, so that what it reads belongs together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from tallystick.broker.groups.classic.group import ClassicGroup
from tallystick.broker.metrics.log_counts import LogCounts
from tallystick.broker.metrics.meter import Meter
from tallystick.broker.node import Node
from tallystick.broker.topics import Topic
from tallystick.broker.transactions.coordinator import OPEN
from tallystick.histogram import Histogram

_PREFIX: Final = "tallystick_"
MAX_TOPICS: Final = 1_000
"""Topics that have lines of their own; those behind them, by name, are told together as topic ""."""


class NodeCollector(Collector):
    """Everything that a node tells of itself."""

    def __init__(self, node: Node, meter: Meter, *, open_connections: Callable[[], int], log_counts: LogCounts) -> None:
        self._node = node
        self._meter = meter
        self._open_connections = open_connections
        self._log_counts = log_counts

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield from self._connections()
        yield from self._topics()
        yield from self._transactions()
        yield from self._groups()
        yield from self._disk()
        yield _counter("log_events", "Events in the log, by level.", ["level"], self._log_counts.by_level.items())

    def _requests(self) -> Iterator[Metric]:
        by_api = sorted(self._meter.by_api.items())
        yield _counter("requests", "Requests handled.", ["api"], ((api, row.requests) for api, row in by_api))
        errors = CounterMetricFamily(
            f"{_PREFIX}request_errors", "Requests whose answer has an error, by the first one.", labels=["api", "error"]
        )
        for api, row in by_api:
            for code, count in row.errors.items():
                errors.add_metric([api, code.name.upper()], count)
        yield errors
        yield _counter(
            "request_bytes", "Bytes of requests.", ["api"], ((api, row.request_bytes) for api, row in by_api)
        )
        yield _counter(
            "response_bytes", "Bytes of answers.", ["api"], ((api, row.response_bytes) for api, row in by_api)
        )
        latency = HistogramMetricFamily(
            f"{_PREFIX}request_seconds",
            "From a whole request to its answer, waiting for data or members included, for the disk not.",
            labels=["api"],
        )
        for api, row in by_api:
            latency.add_metric([api], row.latency.buckets(), row.latency.sum_s)
        yield latency

    def _connections(self) -> Iterator[Metric]:
        yield _gauge("connections", "Open connections.", self._open_connections())
        yield _total("connections_accepted", "Connections accepted.", self._meter.connections_accepted)
        yield _total("connections_refused", "Connections refused, as too many.", self._meter.connections_refused)
        sessions = self._node.fetch_sessions
        yield _gauge("fetch_sessions", "Fetch sessions (KIP-227).", len(sessions))
        yield _gauge("fetch_session_partitions", "Partitions in fetch sessions.", sessions.partition_count)

    def _topics(self) -> Iterator[Metric]:
        topics = sorted(self._node.partitions.all(), key=lambda topic: topic.name)
        shown = [(topic.name, [topic]) for topic in topics[:MAX_TOPICS]]
        if len(topics) > MAX_TOPICS:
            shown.append(("", topics[MAX_TOPICS:]))
        yield _gauge("topics", "Topics.", len(topics))
        for name, text, of_topics in (
            ("partitions", "Partitions of a topic.", _partition_count),
            ("log_bytes", "Bytes in the log of a topic.", _log_bytes),
            ("log_segments", "Segments of the log of a topic.", _segment_count),
            ("log_end_offsets", "Sum of the end offsets of a topic's partitions.", _end_offsets),
            ("last_stable_offset_lag", "The most records of one partition behind an open transaction.", _stable_lag),
        ):
            family = GaugeMetricFamily(f"{_PREFIX}{name}", text, labels=["topic"])
            for label, together in shown:
                family.add_metric([label], of_topics(together))
            yield family

    def _transactions(self) -> Iterator[Metric]:
        states = self._node.transactions.transactions()
        counts = Counter(state.status.value for state in states)
        yield _labelled("transactional_ids", "Transactional ids, by state.", "state", counts)
        now_ms = self._node.clock.now_ms()
        ages_s = [(now_ms - state.started_ms) / 1000 for state in states if state.status in OPEN]
        yield _gauge("open_transactions", "Transactions that are open.", len(ages_s))
        yield _gauge("oldest_open_transaction_seconds", "Age of the oldest; 0 if none is.", max(ages_s, default=0.0))

    def _groups(self) -> Iterator[Metric]:
        groups = self._node.groups.groups()
        counts = Counter(
            ("classic" if isinstance(group.members, ClassicGroup) else "consumer", group.members.status.value)
            for group in groups
        )
        family = GaugeMetricFamily(f"{_PREFIX}groups", "Groups, by protocol and state.", labels=["protocol", "state"])
        for (protocol, state), count in sorted(counts.items()):
            family.add_metric([protocol, state], count)
        yield family

    def _disk(self) -> Iterator[Metric]:
        yield _histogram("fsync_seconds", "How long it took to bring what was written to the disk.", self._meter.syncs)
        yield _gauge("coordinators_journal_bytes", "Size of the coordinators' journal.", self._node.journal.size_bytes)
        failed = self._node.durability.failure is not None
        yield _gauge("disk_failed", "1 after a failed sync; the broker ends then.", int(failed))


def _partition_count(topics: Iterable[Topic]) -> float:
    return sum(len(topic.partitions) for topic in topics)


def _log_bytes(topics: Iterable[Topic]) -> float:
    return sum(
        segment.size_bytes for topic in topics for partition in topic.partitions for segment in partition.log.segments
    )


def _segment_count(topics: Iterable[Topic]) -> float:
    return sum(len(partition.log.segments) for topic in topics for partition in topic.partitions)


def _end_offsets(topics: Iterable[Topic]) -> float:
    return sum(partition.high_watermark for topic in topics for partition in topic.partitions)


def _stable_lag(topics: Iterable[Topic]) -> float:
    return max(
        (partition.high_watermark - partition.last_stable_offset for topic in topics for partition in topic.partitions),
        default=0,
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_PREFIX}{name}", text, value=value)


def _labelled(name: str, text: str, label: str, counts: Counter[str]) -> Metric:
    family = GaugeMetricFamily(f"{_PREFIX}{name}", text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


def _total(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{_PREFIX}{name}", text, value=value)


def _counter(name: str, text: str, labels: list[str], rows: Iterable[tuple[str, float]]) -> Metric:
    family = CounterMetricFamily(f"{_PREFIX}{name}", text, labels=labels)
    for value, count in rows:
        family.add_metric([value], count)
    return family


def _histogram(name: str, text: str, held: Histogram) -> Metric:
    return HistogramMetricFamily(f"{_PREFIX}{name}", text, buckets=held.buckets(), sum_value=held.sum_s)
