"""The values that the oracle compares: what must be there, and what was seen there.

Owns: positions, expected outputs, seen records, the two views of a topic, and the history of a whole run. Must not
know: how they were read.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a record lies."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"


@dataclass(frozen=True, slots=True)
class Expected:
    """One output that must be there exactly once.

    ``group`` names what must be visible together: all outputs of one input event, or of one transaction.
    ``sequence`` orders the outputs of one key in one topic. ``source`` is where the input lies, if the oracle shall
    compare outputs with committed offsets. ``body_hash`` is ``ids.body_hash`` of the value, None if any value will do.
    """

    topic: str
    identity: str
    key: bytes | None
    group: str
    sequence: int
    source: Position | None = None
    body_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """One record, or one row, that a reader found."""

    position: Position
    key: bytes | None
    identity: str
    body_hash: str

    @property
    def topic(self) -> str:
        return self.position.topic


@dataclass(frozen=True, slots=True)
class TopicView:
    """One topic as ``read_committed`` and as ``read_uncommitted`` show it, with the ends of its partitions.

    ``last_stable_offsets`` and ``high_watermarks`` are by partition. They differ by markers and records of
    transactions that are still open.
    """

    topic: str
    committed: tuple[Seen, ...]
    uncommitted: tuple[Seen, ...]
    last_stable_offsets: dict[int, int]
    high_watermarks: dict[int, int]

    @property
    def open_partitions(self) -> tuple[int, ...]:
        """The partitions in which a transaction is open."""
        return tuple(
            partition
            for partition, high_watermark in sorted(self.high_watermarks.items())
            if self.last_stable_offsets[partition] < high_watermark
        )

    @property
    def aborted(self) -> frozenset[Position]:
        """The positions of records below the last stable offset that ``read_committed`` does not show."""
        visible = {seen.position for seen in self.committed}
        return frozenset(
            seen.position
            for seen in self.uncommitted
            if seen.position.offset < self.last_stable_offsets[seen.position.partition] and seen.position not in visible
        )


@dataclass(frozen=True, slots=True)
class StableSample:
    """A look at one partition while the run went on; ``at_ms`` counts from its beginning."""

    at_ms: int
    topic: str
    partition: int
    last_stable_offset: int
    high_watermark: int


@dataclass(frozen=True, slots=True)
class StateCell:
    """One key of a state: what the fold of all inputs gives, and what is there. None: nothing is."""

    state: str
    key: str
    folded: str | None
    found: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that the checkers judge, as values: a recorded one is judged again without any cluster.

    ``rows`` are effects outside Kafka. ``next_offsets`` are the group's committed offsets by topic and partition, None
    if nobody committed any. ``known_aborted`` are positions that the client itself aborted. ``earlier`` is what readers
    saw while the run went on. ``stable_limit_ms`` is how long an open transaction may hold a partition back.
    """

    expected: tuple[Expected, ...]
    views: tuple[TopicView, ...]
    rows: tuple[Seen, ...] = ()
    next_offsets: dict[tuple[str, int], int] | None = None
    known_aborted: frozenset[Position] = frozenset()
    earlier: tuple[TopicView, ...] = ()
    samples: tuple[StableSample, ...] = ()
    stable_limit_ms: int = 60_000
    states: tuple[StateCell, ...] = ()
