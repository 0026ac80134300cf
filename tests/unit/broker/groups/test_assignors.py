"""Who gets what: equal shares with little movement, or neighbours."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.catalog import topic_id_of

from tallystick.broker.groups.consumer.assignors import BY_NAME, Subscriber, assign_range, assign_uniform
from tallystick.broker.groups.consumer.records import Target

A, B = topic_id_of("a"), topic_id_of("b")
TOPICS = [topic_id_of(name) for name in "abcd"]

groups = st.dictionaries(
    st.sampled_from([f"m{number}" for number in range(6)]), st.frozensets(st.sampled_from(TOPICS)), min_size=1
)
counts = st.dictionaries(st.sampled_from(TOPICS), st.integers(0, 7))


def subscribers(topics: dict[str, frozenset[uuid.UUID]], before: dict[str, Target]) -> dict[str, Subscriber]:
    return {member_id: Subscriber(ids, before.get(member_id, {})) for member_id, ids in topics.items()}


def load(target: Target) -> int:
    return sum(map(len, target.values()))


@pytest.mark.parametrize("name", list(BY_NAME))
@given(topics=groups, partition_counts=counts)
def test_every_partition_that_somebody_reads_has_one_owner_who_reads_it(
    name: str, topics: dict[str, frozenset[uuid.UUID]], partition_counts: dict[uuid.UUID, int]
) -> None:
    targets = BY_NAME[name](subscribers(topics, {}), partition_counts)
    assert targets.keys() == topics.keys()
    assert all(topic_id in topics[member_id] for member_id, target in targets.items() for topic_id in target)
    placed = sorted((t, p) for target in targets.values() for t, partitions in target.items() for p in partitions)
    read = frozenset[uuid.UUID]().union(*topics.values())
    assert placed == sorted((t, p) for t, count in partition_counts.items() if t in read for p in range(count))


@given(groups, counts, groups, counts)
def test_uniform_leaves_no_two_members_that_could_share_better(
    topics: dict[str, frozenset[uuid.UUID]],
    partition_counts: dict[uuid.UUID, int],
    later: dict[str, frozenset[uuid.UUID]],
    later_counts: dict[uuid.UUID, int],
) -> None:
    before = assign_uniform(subscribers(topics, {}), partition_counts)
    targets = assign_uniform(subscribers(later, before), later_counts)
    for richer, target in targets.items():
        for poorer in targets:
            if any(topic_id in later[poorer] for topic_id in target):
                assert load(targets[richer]) - load(targets[poorer]) <= 1


@given(st.integers(1, 6), st.integers(0, 20))
def test_uniform_moves_no_more_than_a_newcomer_gets(members: int, partition_count: int) -> None:
    topics = {f"m{number}": frozenset({A}) for number in range(members)}
    before = assign_uniform(subscribers(topics, {}), {A: partition_count})
    after = assign_uniform(subscribers(topics | {"new": frozenset({A})}, before), {A: partition_count})
    assert load(after["new"]) == partition_count // (members + 1)
    for member_id in topics:
        assert set(after[member_id].get(A, ())) <= set(before[member_id].get(A, ()))


def test_range_gives_neighbours_and_the_same_partitions_of_equal_topics() -> None:
    topics = {name: frozenset({A, B}) for name in ("one", "two", "three")}
    targets = assign_range(subscribers(topics, {}), {A: 7, B: 7})
    assert targets["one"] == {A: (0, 1, 2), B: (0, 1, 2)}
    assert targets["three"] == {A: (3, 4), B: (3, 4)}
    assert targets["two"] == {A: (5, 6), B: (5, 6)}


def test_range_puts_static_members_in_the_order_of_their_instance_ids() -> None:
    who = {
        "z": Subscriber(frozenset({A}), {}, instance_id="1"),
        "a": Subscriber(frozenset({A}), {}, instance_id="2"),
    }
    assert assign_range(who, {A: 2}) == {"z": {A: (0,)}, "a": {A: (1,)}}
