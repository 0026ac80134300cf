"""A migration from its survey to its certificate.

Owns: the order of the steps, the target's topics, the groups' new positions. Must not know: how progress looks.

Topics are made on the target so that they keep everything, and get their own settings when all is proved: retention by
time would delete at once what the source has kept, and compaction would take records out of the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from tallystick.clock import Clock, SystemClock
from tallystick.errors import ConfigurationError
from tallystick.migration.certificate import Certificate, GroupMove, PartitionMatch
from tallystick.migration.comparison import Compared, compare
from tallystick.migration.copying import Copy
from tallystick.migration.side import Side
from tallystick.migration.survey import Survey, TopicToMove, survey
from tallystick.operate import Cluster
from tallystick.operate.cluster import NotNow, TopicPartition, UnknownTopic
from tallystick.operate.groups import CommittedOffset, committed_offsets, set_offsets
from tallystick.operate.topics import create_topic, partition_ends, set_topic_settings
from tallystick.pipeline.starts import read_note

_KEEP = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
_KEPT_TOPICS = ("cleanup.policy", "retention.ms", "retention.bytes")

Progress = Callable[[str, int, int], None]
"""What is done ("copy", "compare"), how much of it now, and how much there is in all."""


def _silent(_what: str, _done: int, _of: int) -> None:
    """Nobody looks."""


@dataclass(frozen=True, slots=True)
class Migration:
    """``topics`` and ``groups`` are patterns of a shell. ``wait_s`` is how long groups may take to be empty."""

    source: Side
    target: Side
    topics: Sequence[str] = ("*",)
    groups: Sequence[str] = ("*",)
    wait_s: float = 0.0
    clock: Clock = field(default_factory=SystemClock)

    def survey(self) -> Survey:
        """What would be moved; nothing is changed."""
        with self.source.open() as cluster:
            found = survey(cluster, topics=self.topics, groups=self.groups, wait_s=self.wait_s)
        names = [topic.name for topic in found.topics]
        self.source.look(names)
        self.target.look(names)
        if self.source.cluster_id == self.target.cluster_id:
            raise ConfigurationError("both sides are the same cluster", remedy="Give another --to")
        return found

    def run(self, progress: Progress = _silent) -> Certificate:
        """Move everything, and prove it. May be run again after any interruption: it goes on where it ended.

        ``ConfigurationError`` for what forbids it, ``Differs`` if the proof fails; groups are moved only after it.
        """
        plan = self.survey()
        with self.target.open() as cluster:
            self._make_topics(cluster, plan)
            self.target.look([topic.name for topic in plan.topics])
            self._copy(cluster, plan, progress)
            certificate = self._prove(cluster, plan, progress)
            self._unchanged(plan)
            self._move_groups(cluster, plan, certificate)
            for topic in plan.topics:
                set_topic_settings(cluster, topic.name, topic.settings, remove=_KEPT_TOPICS)
        return certificate

    # -- the steps

    def _make_topics(self, cluster: Cluster, plan: Survey) -> None:
        there = cluster.topics()
        for topic in plan.topics:
            found = there.get(topic.name)
            if found is None:
                settings = topic.settings | _KEEP
                create_topic(cluster, topic.name, partitions=topic.partitions, replication_factor=-1, settings=settings)
            elif len(found.leaders) != topic.partitions:
                raise ConfigurationError(
                    f"topic {topic.name!r} is on the target with {len(found.leaders)} partitions, and has "
                    f"{topic.partitions} here: keys would move",
                    remedy="Delete it there, or leave it out with --topic",
                )
        _await_known(cluster, [topic.name for topic in plan.topics])

    def _copy(self, cluster: Cluster, plan: Survey, progress: Progress) -> None:
        copy = Copy(self.source, self.target)
        done = copy.begin(cluster)
        try:
            begins: dict[tuple[str, int], int] = {}
            for topic in plan.topics:
                self._refuse_foreign(cluster, topic, done)
                for number, begin in topic.begins.items():
                    begins[topic.name, number] = max(begin, done.get((topic.name, number), begin))
            if begins.keys() - done.keys():
                copy.claim(begins)
            ends = {(topic.name, number): end for topic in plan.topics for number, end in topic.ends.items()}
            of = plan.offsets_to_copy
            progress("copy", of - sum(end - begins[place] for place, end in ends.items()), of)
            copy.run(begins, ends, lambda offsets: progress("copy", offsets, of))
        finally:
            copy.close()

    def _refuse_foreign(self, cluster: Cluster, topic: TopicToMove, done: dict[tuple[str, int], int]) -> None:
        """A partition that has records and no progress of ours was written by somebody else."""
        for ends in partition_ends(cluster, cluster.topics([topic.name])[topic.name]):
            if ends.high_watermark > 0 and tuple(ends.place) not in done:
                raise ConfigurationError(
                    f"{ends.place} on the target has records that this migration did not write",
                    remedy="Delete the topic there, or leave it out with --topic",
                )

    def _prove(self, cluster: Cluster, plan: Survey, progress: Progress) -> Certificate:
        matches, moves = [], []
        total = 0
        for topic in plan.topics:
            ends = {
                one.place.partition: one for one in partition_ends(cluster, cluster.topics([topic.name])[topic.name])
            }
            for number in range(topic.partitions):
                place = TopicPartition(topic.name, number)
                committed = {name: held[place].offset for name, held in plan.groups.items() if place in held}
                compared = compare(
                    str(place),
                    self.source.read(topic.name, number, topic.begins[number], topic.ends[number]),
                    self.target.read(topic.name, number, 0, ends[number].last_stable_offset),
                    committed,
                    lambda records: progress("compare", records, 0),
                )
                total += compared.records
                matches.append(_match(place, compared))
                moves += [_move(group, place, offset, compared) for group, offset in committed.items()]
        return Certificate(
            from_cluster=self.source.cluster_id,
            to_cluster=self.target.cluster_id,
            made_at_ms=self.clock.now_ms(),
            partitions=tuple(matches),
            groups=tuple(moves),
        )

    def _unchanged(self, plan: Survey) -> None:
        with self.source.open() as cluster:
            now = survey(cluster, topics=[topic.name for topic in plan.topics], groups=self.groups)
        moved = {topic.name for topic, then in zip(now.topics, plan.topics, strict=True) if topic.ends != then.ends}
        if moved or now.groups != plan.groups:
            raise ConfigurationError(
                f"the source moved on meanwhile: {sorted(moved) or 'groups committed'}",
                remedy="Stop whoever writes there, and run the command again: it copies what came, and no more",
            )

    def _move_groups(self, cluster: Cluster, plan: Survey, certificate: Certificate) -> None:
        for group, held in plan.groups.items():
            wanted = {
                TopicPartition(move.topic, move.partition): move.to_offset
                for move in certificate.groups
                if move.group == group
            }
            there = committed_offsets(cluster, group, stable=True)
            worked = {
                str(place) for place, offset in wanted.items() if place in there and there[place].offset != offset
            }
            if worked:
                raise ConfigurationError(
                    f"group {group!r} has other offsets on the target already, in {sorted(worked)}: it may have worked",
                    remedy=f"If it has not: tallystick groups delete {group} on the target, and run this again",
                )
            set_offsets(
                cluster,
                group,
                {
                    place: CommittedOffset(offset, self._note(held[place].metadata, place.topic))
                    for place, offset in wanted.items()
                },
            )

    def _note(self, metadata: str, topic: str) -> str:
        """What an application of ours wrote beside the offset names the topic by its id, which is another one now."""
        note = read_note(metadata)
        if note is None:
            return metadata
        return msgspec.structs.replace(note, topic_id=self.target.facts[topic].topic_id).encode()


def _await_known(cluster: Cluster, topics: list[str]) -> None:
    """A broker that made a topic may not know it for a moment, and then not lead it."""

    def ask() -> None:
        try:
            for topic in cluster.topics(topics).values():
                partition_ends(cluster, topic)
        except UnknownTopic as error:
            raise NotNow(str(error)) from error

    cluster.settled(ask)


def _match(place: TopicPartition, compared: Compared) -> PartitionMatch:
    return PartitionMatch(
        topic=place.topic, partition=place.partition, records=compared.records, digest=compared.digest
    )


def _move(group: str, place: TopicPartition, offset: int, compared: Compared) -> GroupMove:
    position = compared.positions[offset]
    return GroupMove(
        group=group,
        topic=place.topic,
        partition=place.partition,
        from_offset=offset,
        to_offset=position.to_offset,
        next_event_id=position.next_event_id,
    )
