"""Which records a replay reads: a span of time, of what the group has processed already.

Owns: ``Span``, ``Scope`` and how one becomes the other. Must not know: what is done with the records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tallystick.errors import ConfigurationError
from tallystick.pipeline.kafka_client import Cluster, Partition
from tallystick.pipeline.patience import Patience
from tallystick.pipeline.polled import Message
from tallystick.pipeline.starts import TopicFacts

Bounds = Mapping[Partition, tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Records with ``from_ms <= timestamp < to_ms``, None for no bound; ``partitions`` None for all of them."""

    from_ms: int | None = None
    to_ms: int | None = None
    partitions: frozenset[int] | None = None

    def holds(self, message: Message) -> bool:
        stamp = message.timestamp()[1]
        return (self.from_ms is None or stamp >= self.from_ms) and (self.to_ms is None or stamp < self.to_ms)


@dataclass(frozen=True, slots=True)
class Scope:
    """Offsets to read, by partition, and what a person should know about them.

    Timestamps need not ascend: so a span is read from its first record up to where the group stands, and what lies
    outside of it is left out record by record.
    """

    ranges: Bounds
    notes: tuple[str, ...]

    @property
    def offsets(self) -> int:
        return sum(end - first for first, end in self.ranges.values())


def scope(span: Span, group: str, sources: Mapping[str, TopicFacts], cluster: Cluster, patience: Patience) -> Scope:
    """``ConfigurationError`` if the group has processed nothing of the sources."""
    places = [
        (topic, number)
        for topic, facts in sorted(sources.items())
        for number in range(facts.partitions)
        if span.partitions is None or number in span.partitions
    ]
    stored = patience.call("committed offsets", lambda: cluster.group_offsets(group, places))
    committed = {place: found.offset for place, found in stored.items() if found.offset is not None}
    if not committed:
        raise ConfigurationError(
            f"group {group!r} has committed nothing in {sorted(sources)}: there is nothing that could be replayed",
            remedy="Give the --group that the application runs with; 'tallystick groups list' shows all",
        )
    bounds = patience.call("ends", lambda: cluster.bounds(places))
    firsts = _firsts(span, places, cluster, patience)
    ranges, notes = {}, []
    for place in places:
        log_start, high_watermark = bounds[place]
        first = log_start if firsts.get(place) is None else max(log_start, firsts[place])
        end = min(committed.get(place, log_start), high_watermark)
        if end > first:
            ranges[place] = (first, end)
        if log_start > 0 and first == log_start:
            notes.append(f"{place[0]}-{place[1]} begins at offset {log_start}: what was before it is deleted")
        if (ahead := high_watermark - committed.get(place, log_start)) > 0:
            notes.append(f"{place[0]}-{place[1]}: {ahead} offsets that the group has not processed are left out")
    return Scope(ranges, tuple(notes))


def _firsts(span: Span, places: Iterable[Partition], cluster: Cluster, patience: Patience) -> dict[Partition, int]:
    from_ms = span.from_ms
    if from_ms is None:
        return {}
    return patience.call("offsets by time", lambda: cluster.offsets_at(places, from_ms))
