"""Which records a replay reads: a span of time, of what the group has processed already.

Owns: ``Span``, ``Scope`` and how one becomes the other. Must not know: what is done with the records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tallystick.errors import ConfigurationError
from tallystick.pipeline.kafka_client import Cluster, Partition
from tallystick.pipeline.patience import Patience
from tallystick.pipeline.starts import TopicFacts

Bounds = Mapping[Partition, tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Records with ``from_ms <= timestamp < to_ms``, None for no bound; ``partitions`` None for all of them."""

    from_ms: int | None = None
    to_ms: int | None = None
    partitions: frozenset[int] | None = None

    def holds(self, stamp: int) -> bool:
        """Whether a record of this time is in it."""
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


def scope(
    span: Span,
    group: str,
    sources: Mapping[str, TopicFacts],
    cluster: Cluster,
    patience: Patience,
    *,
    from_beginning: bool,
) -> Scope:
    """``ConfigurationError`` if the group has processed nothing of the sources.

    ``from_beginning``: what is before the span is read as well, and has to be there.
    """
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
    firsts = None if from_beginning else _firsts(span, places, cluster, patience)
    ranges, notes = {}, []
    for place in places:
        log_start, high_watermark = bounds[place]
        # A partition without a record of that time or later has nothing of the span.
        first = log_start if firsts is None else max(log_start, firsts.get(place, high_watermark))
        end = min(committed.get(place, log_start), high_watermark)
        if end > first:
            ranges[place] = (first, end)
        if log_start > 0 and from_beginning:
            raise ConfigurationError(
                f"{place[0]}-{place[1]} begins at offset {log_start}, and state is made of all records from the first",
                remedy="Replay the step before this one, or choose another --partition",
            )
        if log_start > 0 and first == log_start:
            notes.append(f"{place[0]}-{place[1]} begins at offset {log_start}: what was before it is deleted")
        if (ahead := high_watermark - committed.get(place, log_start)) > 0:
            notes.append(f"{place[0]}-{place[1]}: {ahead} offsets that the group has not processed are left out")
    return Scope(ranges, tuple(notes))


def _firsts(
    span: Span, places: Iterable[Partition], cluster: Cluster, patience: Patience
) -> dict[Partition, int] | None:
    from_ms = span.from_ms
    if from_ms is None:
        return None
    return patience.call("offsets by time", lambda: cluster.offsets_at(places, from_ms))
