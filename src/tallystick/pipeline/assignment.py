"""The partitions a step owns: where each starts, which note its commits carry, and how to go back.

Owns: the assignment, its membership, start offsets (rule 10) and rewinding (rule 8). Must not know: transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import structlog

from tallystick.errors import AbortableError, ConfigurationError, RetriableError
from tallystick.pipeline.counters import Counters
from tallystick.pipeline.kafka_client import Cluster, GroupConsumer, Membership, Partition
from tallystick.pipeline.patience import Patience
from tallystick.pipeline.starts import OffsetNote, Starts, StoredOffset, TopicFacts, resolve

log = structlog.get_logger(__name__)

_REFRESH_INTERVAL_MS: Final = 1_000


class Assignment:
    """Listens to rebalances and answers with explicit offsets; tells ``changed`` after each of them.

    All methods run in the step's thread, the rebalance ones inside ``poll``.
    """

    def __init__(
        self, *, group: str, cluster: Cluster, sources: Sequence[str], patience: Patience, counters: Counters
    ) -> None:
        self._group = group
        self._cluster = cluster
        self._sources = tuple(sources)
        self._patience = patience
        self._counters = counters
        self._consumer: GroupConsumer | None = None
        self._changed: Callable[[str], None] = lambda _how: None
        self._facts: dict[str, TopicFacts] = {}
        self._notes: dict[str, OffsetNote] = {}
        self._covered = False
        self._next_refresh_ms = 0
        self.owned: frozenset[Partition] = frozenset()
        self.membership: Membership | None = None
        self.changes = 0

    def attach(self, consumer: GroupConsumer, changed: Callable[[str], None]) -> None:
        """``changed`` gets "assigned", "revoking", "revoked" or "lost"."""
        self._consumer = consumer
        self._changed = changed

    @property
    def consumer(self) -> GroupConsumer:
        if self._consumer is None:
            raise ConfigurationError("the assignment has no consumer yet")
        return self._consumer

    @property
    def notes(self) -> dict[str, str]:
        """Metadata for offset commits, by topic."""
        return {topic: note.encode() for topic, note in self._notes.items()}

    # -- RebalanceListener

    def assigned(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        self.owned = frozenset(partitions)
        self.membership = self.consumer.membership()
        starts: dict[Partition, int] = {}
        if partitions:
            starts = self._start_offsets(partitions)
        self.changes += 1
        self._counters.assignments += 1
        self._changed("assigned")
        log.info("assigned", group=self._group, partitions=sorted(partitions), generation=self.membership.generation)
        return starts

    def revoked(self, partitions: Sequence[Partition]) -> None:
        self._changed("revoking")
        self._gone()
        self._changed("revoked")
        log.info("revoked", group=self._group, partitions=sorted(partitions))

    def lost(self, partitions: Sequence[Partition]) -> None:
        self._gone()
        self._counters.lost_assignments += 1
        self._changed("lost")
        log.warning("lost", group=self._group, partitions=sorted(partitions))

    def _gone(self) -> None:
        self.owned = frozenset()
        self.membership = None
        self.changes += 1

    # -- positions

    def current_membership(self) -> Membership:
        """The membership that a transaction begins under.

        ``AbortableError`` if the group has moved on since the assignment, of which the next ``poll`` will tell
        (rules 1 and 2).
        """
        membership = self.consumer.membership()
        if self.membership is None or membership != self.membership or not membership.is_fencing:
            raise AbortableError(f"the group {self._group} has moved on: a rebalance is waiting")
        return membership

    def rewind(self) -> None:
        """Go back to the committed offsets of all owned partitions; what was fetched is dropped."""
        if not self.owned:
            return
        stored = self._patience.call("committed offsets", lambda: self.consumer.committed(sorted(self.owned)))
        missing = [partition for partition, found in stored.items() if found.offset is None]
        if missing:
            raise ConfigurationError(
                f"group {self._group!r} has lost its offsets for {missing} while it was running",
                rule=10,
                remedy="Find out who deleted them, set them by hand, start again",
            )
        targets = {partition: found.offset for partition, found in stored.items() if found.offset is not None}
        self._patience.call("seek", lambda: self.consumer.seek(targets))

    def refresh_notes(self) -> None:
        """Claim coverage of all partitions once every one has a committed offset; free when that is known."""
        if self._covered or not self._facts:
            return
        now_ms = self._patience.clock.monotonic_ms()
        if now_ms < self._next_refresh_ms:
            return
        self._next_refresh_ms = now_ms + _REFRESH_INTERVAL_MS
        try:
            stored = self._cluster.group_offsets(self._group, self._all_partitions())
        except RetriableError as error:
            log.info("coverage not known yet", group=self._group, error=str(error))
            return
        self._resolve(stored, owned=())

    def _start_offsets(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        self._facts = self._patience.call("topics", lambda: self._cluster.topics(self._sources))
        absent = sorted({topic for topic, _ in partitions} - self._facts.keys())
        if absent:
            raise ConfigurationError(f"the cluster assigns partitions of {absent} and does not know these topics")
        stored = self._patience.call("committed offsets", lambda: self.consumer.committed(partitions))
        if any(found.offset is None for found in stored.values()):
            # What other members committed says whether these are new. Their open transactions don't matter for it,
            # and waiting for them would tie this member's start to theirs.
            others = set(self._all_partitions()) - set(partitions)
            stored |= self._patience.call(
                "the group's offsets", lambda: self._cluster.group_offsets(self._group, others)
            )
        missing = self._resolve(stored, owned=partitions)
        fresh = {}
        for partition in missing:
            fresh[partition] = self._patience.call("log start", partial(self.consumer.earliest, partition))
        if fresh:
            self._commit_starts(fresh)
        offsets = {partition: found.offset for partition, found in stored.items() if found.offset is not None}
        return {partition: fresh[partition] if partition in fresh else offsets[partition] for partition in partitions}

    def _commit_starts(self, fresh: Mapping[Partition, int]) -> None:
        try:
            self._patience.call("start offsets", lambda: self.consumer.commit(fresh, self.notes))
        except AbortableError as error:
            # Another rebalance is on its way already: without a membership nothing begins until it is here.
            log.info("start offsets not committed", group=self._group, error=str(error))
            self.membership = None

    def _resolve(self, stored: Mapping[Partition, StoredOffset], *, owned: Iterable[Partition]) -> list[Partition]:
        mine = list(owned)
        missing: list[Partition] = []
        whole = True
        for topic, facts in self._facts.items():
            by_number = {number: found for (name, number), found in stored.items() if name == topic}
            own = [number for name, number in mine if name == topic]
            starts: Starts = resolve(topic, facts, by_number, own, group=self._group)
            self._notes[topic] = starts.note
            missing.extend((topic, number) for number in starts.missing)
            whole = whole and starts.note.partitions >= facts.partitions
        self._covered = whole
        return missing

    def _all_partitions(self) -> list[Partition]:
        return [(topic, number) for topic, facts in self._facts.items() for number in range(facts.partitions)]
