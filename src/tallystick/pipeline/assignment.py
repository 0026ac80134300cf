"""The partitions a step owns: where each starts, which note its commits carry, and how to go back.

Owns: the assignment, its membership, start offsets (rule 10) and rewinding (rule 8). Must not know: transactions,
lanes' threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from tallystick.errors import AbortableError, ConfigurationError, RetriableError
from tallystick.pipeline.counters import Counters
from tallystick.pipeline.kafka_client import Cluster, GroupConsumer, MemberFenced, Membership, Partition
from tallystick.pipeline.patience import GaveUp, Patience, StopAsked
from tallystick.pipeline.starts import OffsetNote, StoredOffset, TopicFacts, lanes_so_far, resolve

log = structlog.get_logger(__name__)

_REFRESH_INTERVAL_MS: Final = 1_000
_SEEK_ROUNDS: Final = 10
_SEEK_ROUND_MS: Final = 1_000


class Assignment:
    """Listens to rebalances and answers with explicit offsets; tells ``changed`` after each of them.

    All methods run in the polling thread, the rebalance ones inside ``poll``. Other threads may read the public
    attributes: each is a frozen value that is replaced as a whole.
    """

    def __init__(
        self,
        *,
        group: str,
        cluster: Cluster,
        sources: Sequence[str],
        patience: Patience,
        counters: Counters,
        lanes: int = 1,
    ) -> None:
        self._group = group
        self._cluster = cluster
        self._sources = tuple(sources)
        self._patience = patience
        self._counters = counters
        self._lanes = lanes
        self._most_lanes = lanes
        self._consumer: GroupConsumer | None = None
        self._changed: Callable[[str], None] = lambda _how: None
        self._facts: dict[str, TopicFacts] = {}
        self._covered = False
        self._next_refresh_ms = 0
        self.owned: frozenset[Partition] = frozenset()
        self.membership: Membership | None = None
        """As of the assignment; None while there is none."""
        self.member_id = ""
        """As last seen."""
        self.notes: Mapping[str, str] = {}
        """Metadata for offset commits, by topic."""
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

    def lanes_so_far(self, facts: Mapping[str, TopicFacts]) -> int:
        """The largest number of lanes that any member of the group ever had, ours included.

        To be asked before the group is joined: every transactional id that a lane may have used is settled before
        offsets are fetched (rule 5). From then on our own notes say it too.
        """
        partitions = [(topic, number) for topic in self._sources for number in range(facts[topic].partitions)]
        stored = self._patience.call("the group's lanes", lambda: self._cluster.group_offsets(self._group, partitions))
        self._most_lanes = max(self._lanes, lanes_so_far(stored.values()))
        return self._most_lanes

    # -- RebalanceListener

    def assigned(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        self.owned |= frozenset(partitions)
        self.membership = self.look()
        starts: dict[Partition, int] = {}
        if partitions:
            starts = self._start_offsets(partitions)
            self._counters.positions |= starts
        self.changes += 1
        self._counters.assignments += 1
        self._changed("assigned")
        log.info("assigned", group=self._group, partitions=sorted(partitions), generation=self.membership.generation)
        return starts

    def revoked(self, partitions: Sequence[Partition]) -> None:
        self._changed("revoking")
        self._gone(partitions)
        self._changed("revoked")
        log.info("revoked", group=self._group, partitions=sorted(partitions))
        if self.owned:  # cooperative: the rest goes on under the membership of before, until the group has moved on
            self._changed("assigned")

    def lost(self, partitions: Sequence[Partition]) -> None:
        self._gone(self.owned)
        self._counters.lost_assignments += 1
        self._changed("lost")
        log.warning("lost", group=self._group, partitions=sorted(partitions))

    def _gone(self, partitions: Iterable[Partition]) -> None:
        self.owned -= frozenset(partitions)
        if not self.owned:
            self.membership = None
        self.changes += 1

    # -- positions

    def look(self) -> Membership:
        """The membership as librdkafka has it now."""
        membership = self.consumer.membership()
        self.member_id = membership.member_id
        return membership

    def follow(self) -> Membership:
        """``look``; under the consumer protocol an assignment goes on under higher epochs of its member (rule 7).

        A partition is only given to another member once this one has acknowledged its revocation, of which ``revoked``
        tells before that, or once its session is over: then librdkafka joins anew, but not before ``lost`` has been
        told. So whatever epoch it shows until then, the partitions are still those of this assignment.
        """
        membership, known = self.look(), self.membership
        if (
            self.consumer.epochs_move
            and known is not None
            and membership.member_id == known.member_id
            and membership.generation > known.generation
        ):
            self.membership = membership
        return membership

    def is_member(self, member_id: str) -> bool:
        return self.look().member_id == member_id

    def news(self) -> tuple[str, ...]:
        """None: whoever polls is told at once."""
        return ()

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        self.consumer.commit(offsets, self.notes)

    def current_membership(self) -> Membership:
        """The membership that a transaction begins under.

        ``AbortableError`` if the group has moved on since the assignment, of which the next ``poll`` will tell
        (rules 1 and 2).
        """
        membership = self.follow()
        if self.membership is None or membership != self.membership or not membership.is_fencing:
            raise AbortableError(f"the group {self._group} has moved on: a rebalance is waiting")
        return membership

    def rewind(self, among: Callable[[Partition], bool] = lambda _partition: True) -> None:
        """Go back to the committed offsets of the owned partitions; what was fetched of them is dropped."""
        mine = sorted(filter(among, self.owned))
        if not mine:
            return
        stored = self._patience.call("committed offsets", lambda: self.consumer.committed(mine))
        missing = [partition for partition, found in stored.items() if found.offset is None]
        if missing:
            raise ConfigurationError(
                f"group {self._group!r} has lost its offsets for {missing} while it was running",
                rule=10,
                remedy="Find out who deleted them, set them by hand, start again",
            )
        targets = {partition: found.offset for partition, found in stored.items() if found.offset is not None}
        self._seek(targets)

    def _seek(self, targets: Mapping[Partition, int]) -> None:
        """A consumer that was fenced never fetches again, and tells of it in ``poll`` only, which is not reached here.

        So the group is asked, each second. If nobody else has our place either, a new process has to find out.
        """
        round_of_tries = replace(self._patience, limit_ms=_SEEK_ROUND_MS)
        for left in reversed(range(_SEEK_ROUNDS)):
            try:
                round_of_tries.call("seek", lambda: self.consumer.seek(targets))
            except StopAsked:
                raise
            except GaveUp as silent:
                if self._is_replaced():
                    raise MemberFenced(f"group {self._group!r} no longer knows member {self.member_id}") from silent
                if not left:
                    raise
            else:
                return

    def _is_replaced(self) -> bool:
        """Whether another has our place, as far as the group can be asked."""
        try:
            holders = self._cluster.instance_holders(self._group)
        except RetriableError:
            return False
        return bool(holders) and self.member_id not in holders.values()

    def raise_if_sources_are_gone(self) -> None:
        """``ConfigurationError`` if a source was deleted; the cluster is asked once the client misses one."""
        if not self.consumer.misses_topics:
            return
        self.consumer.misses_topics = False
        facts = self._patience.call("topics", lambda: self._cluster.topics(self._sources))
        for topic in self._sources:
            known = self._facts.get(topic)
            if topic not in facts or (known is not None and known.topic_id != facts[topic].topic_id):
                raise ConfigurationError(
                    f"topic {topic!r} was deleted while group {self._group!r} read it",
                    rule=10,
                    remedy="What was not read is gone. To go on with a new topic of that name, delete the group's "
                    "offsets ('tallystick groups delete'), or use another application name",
                )

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
        offsets = {partition: found.offset for partition, found in stored.items() if found.offset is not None}
        starts = {partition: fresh[partition] if partition in fresh else offsets[partition] for partition in partitions}
        understated = [partition for partition in partitions if self._understates_lanes(stored[partition])]
        if unsaid := {partition: starts[partition] for partition in (*fresh, *understated)}:
            self._commit_starts(unsaid)
        return starts

    def _understates_lanes(self, found: StoredOffset) -> bool:
        """Whether a lane of ours might be forgotten: its id must be on record before its first transaction (rule 5)."""
        return self._lanes > 1 and found.offset is not None and (found.note is None or found.note.lanes < self._lanes)

    def _commit_starts(self, starts: Mapping[Partition, int]) -> None:
        try:
            self._patience.call("start offsets", lambda: self.consumer.commit(starts, self.notes))
        except AbortableError as error:
            # Another rebalance is on its way already: without a membership nothing begins until it is here.
            log.info("start offsets not committed", group=self._group, error=str(error))
            self.membership = None

    def _resolve(self, stored: Mapping[Partition, StoredOffset], *, owned: Iterable[Partition]) -> list[Partition]:
        mine = list(owned)
        missing: list[Partition] = []
        notes: dict[str, OffsetNote] = {}
        self._most_lanes = max(self._most_lanes, lanes_so_far(stored.values()))
        whole = True
        for topic, facts in self._facts.items():
            by_number = {number: found for (name, number), found in stored.items() if name == topic}
            own = [number for name, number in mine if name == topic]
            starts = resolve(topic, facts, by_number, own, group=self._group, lanes=self._most_lanes)
            notes[topic] = starts.note
            missing.extend((topic, number) for number in starts.missing)
            whole = whole and starts.note.partitions >= facts.partitions
        self._covered = whole
        self.notes = {topic: note.encode() for topic, note in notes.items()}
        return missing

    def _all_partitions(self) -> list[Partition]:
        return [(topic, number) for topic, facts in self._facts.items() for number in range(facts.partitions)]
