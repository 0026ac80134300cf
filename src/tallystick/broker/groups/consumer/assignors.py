"""Server-side assignors: which member is to have which partition.

Owns: ``uniform`` (equal shares, as little movement as possible) and ``range`` (of each topic, neighbouring partitions
to each member, so that equal partitions of topics meet). Must not know: members' states, epochs.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from tallystick.broker.groups.consumer.records import Target


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A member as an assignor sees it: what it may have, and what it was to have until now."""

    topics: frozenset[uuid.UUID]
    before: Target
    instance_id: str | None = None


Assignor = Callable[[Mapping[str, Subscriber], Mapping[uuid.UUID, int]], dict[str, Target]]
"""From subscribers by member id and partition counts by topic id: the target of every member."""


def assign_uniform(
    subscribers: Mapping[str, Subscriber], partition_counts: Mapping[uuid.UUID, int]
) -> dict[str, Target]:
    """Everybody keeps what it had, the rest goes to who has least; then shares are levelled until no two members
    that could swap differ by more than one."""
    readers = _readers(subscribers)
    owners = _kept(subscribers, partition_counts)
    loads = Counter(dict.fromkeys(subscribers, 0))
    loads.update(member_id for topic in owners.values() for member_id in topic.values())
    for topic_id in sorted(readers, key=lambda topic_id: (len(readers[topic_id]), topic_id)):
        topic = owners[topic_id]
        for partition in range(partition_counts.get(topic_id, 0)):
            if partition not in topic:
                topic[partition] = min(readers[topic_id], key=lambda member_id: (loads[member_id], member_id))
                loads[topic[partition]] += 1
    while any(_level(owners[topic_id], readers[topic_id], loads) for topic_id in sorted(readers)):
        pass  # ends: every move makes the sum of the squared loads smaller
    return _targets(subscribers, owners)


def _level(topic: dict[int, str], readers: Collection[str], loads: Counter[str]) -> bool:
    """Move partitions of one topic from the most to the least loaded of its readers; whether any was moved."""
    moved = False
    while topic:
        poorest = min(readers, key=lambda member_id: (loads[member_id], member_id))
        richest = max(set(topic.values()), key=lambda member_id: (loads[member_id], member_id))
        if loads[richest] - loads[poorest] <= 1:
            break
        partition = max(partition for partition, owner in topic.items() if owner == richest)
        topic[partition] = poorest
        loads[richest] -= 1
        loads[poorest] += 1
        moved = True
    return moved


def assign_range(subscribers: Mapping[str, Subscriber], partition_counts: Mapping[uuid.UUID, int]) -> dict[str, Target]:
    """Members in the order of their instance ids and member ids; the first ones of a topic get one partition more."""
    owners: dict[uuid.UUID, dict[int, str]] = {}
    for topic_id, readers in _readers(subscribers).items():
        ordered = sorted(readers, key=lambda member_id: (subscribers[member_id].instance_id or "", member_id))
        share, extra = divmod(partition_counts.get(topic_id, 0), len(ordered))
        sizes = [share + (index < extra) for index in range(len(ordered))]
        places = [member_id for member_id, size in zip(ordered, sizes, strict=True) for _ in range(size)]
        owners[topic_id] = dict(enumerate(places))
    return _targets(subscribers, owners)


def _readers(subscribers: Mapping[str, Subscriber]) -> dict[uuid.UUID, list[str]]:
    readers: dict[uuid.UUID, list[str]] = defaultdict(list)
    for member_id, subscriber in subscribers.items():
        for topic_id in subscriber.topics:
            readers[topic_id].append(member_id)
    return readers


def _kept(
    subscribers: Mapping[str, Subscriber], partition_counts: Mapping[uuid.UUID, int]
) -> dict[uuid.UUID, dict[int, str]]:
    kept: dict[uuid.UUID, dict[int, str]] = defaultdict(dict)
    for member_id, subscriber in subscribers.items():
        for topic_id, partitions in subscriber.before.items():
            if topic_id in subscriber.topics:
                count = partition_counts.get(topic_id, 0)
                kept[topic_id].update((partition, member_id) for partition in partitions if partition < count)
    return kept


def _targets(subscribers: Mapping[str, Subscriber], owners: Mapping[uuid.UUID, Mapping[int, str]]) -> dict[str, Target]:
    found: dict[str, dict[uuid.UUID, list[int]]] = {member_id: defaultdict(list) for member_id in subscribers}
    for topic_id, topic in owners.items():
        for partition in sorted(topic):
            found[topic[partition]][topic_id].append(partition)
    return {
        member_id: {topic_id: tuple(partitions) for topic_id, partitions in topics.items()}
        for member_id, topics in found.items()
    }


BY_NAME: Final[dict[str, Assignor]] = {"uniform": assign_uniform, "range": assign_range}
