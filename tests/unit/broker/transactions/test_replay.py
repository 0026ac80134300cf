"""Whatever happened, the journal gives the same state again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.broker.transactions.records import TransactionStatus

if TYPE_CHECKING:
    from tests.unit.broker.transactions.conftest import World

SETTLED = {"Empty", "Ongoing", "CompleteCommit", "CompleteAbort"}

ids = st.sampled_from(["t", "u"])
owners = st.integers(min_value=0, max_value=2)
"""0: the present owner; more: so many epochs behind."""

versions = st.sampled_from([0, 2])
steps = st.one_of(
    st.tuples(st.just("init"), ids, st.booleans()),
    st.tuples(st.just("partition"), ids, owners, st.integers(0, 2), versions),
    st.tuples(st.just("group"), ids, owners, st.sampled_from(["g", "h"]), versions),
    st.tuples(st.just("end"), ids, owners, st.booleans(), versions),
    st.tuples(st.just("use up"), ids),
    st.tuples(st.just("advance"), st.sampled_from([1, 30_000, 60_000, 8 * 24 * 3_600_000])),
    st.tuples(st.just("full disk"), st.integers(0, 3)),
    st.tuples(st.just("restart")),
)


def take(world: World, step: Any) -> None:
    coordinator = world.coordinator

    def owner(transactional_id: str, behind: int) -> tuple[int, int]:
        state = coordinator.transaction(transactional_id)
        return (0, 0) if state is None else (state.producer_id, state.producer_epoch - behind)

    match step:
        case ("init", transactional_id, named):
            producer_id, epoch = owner(transactional_id, 0) if named else (-1, -1)
            coordinator.init_producer_id(
                transactional_id, timeout_ms=60_000, producer_id=producer_id, producer_epoch=epoch
            )
        case ("partition", transactional_id, behind, partition, version):
            coordinator.add_partitions(
                transactional_id, *owner(transactional_id, behind), [("a", partition)], transaction_version=version
            )
        case ("group", transactional_id, behind, group_id, version):
            coordinator.add_group(
                transactional_id, *owner(transactional_id, behind), group_id, transaction_version=version
            )
        case ("end", transactional_id, behind, commit, version):
            coordinator.end(
                transactional_id, *owner(transactional_id, behind), commit=commit, transaction_version=version
            )
        case ("use up", transactional_id):  # all epochs but the last, as after 32,766 transactions of version 2
            state = coordinator.transaction(transactional_id)
            if state is not None and not state.is_exhausted and state.status.value in SETTLED:
                world.journal.records.append(worn := msgspec.structs.replace(state, producer_epoch=32_766))
                coordinator.replay(worn)
        case ("advance", by_ms):
            world.clock.advance(by_ms=by_ms)
            coordinator.tick(world.clock.now_ms())
        case ("full disk", writes_before_full):
            world.journal.fails_after = writes_before_full
        case ("restart",):
            world.journal.fails_after = None
            world.restart()


@given(st.lists(steps, max_size=25))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_replay_of_every_prefix_of_the_journal_is_the_state_as_it_was_then(
    make_world: Callable[[], World], script: list[Any]
) -> None:
    world = make_world()
    seen: list[tuple[int, dict[str, Any]]] = []
    world.journal.on_append = lambda: seen.append((len(world.journal.records), world.states()))
    for step in script:
        take(world, step)
    seen.append((len(world.journal.records), world.states()))
    # A restart begins with an empty coordinator, and what it appends then is seen with the state of the replay.
    for length, states in seen:
        replayed = make_world()
        for record in world.journal.records[:length]:
            replayed.coordinator.replay(record)
        assert replayed.states() == states


@given(st.lists(steps, max_size=25), st.integers(min_value=0))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_recovery_from_any_prefix_leaves_nothing_prepared_and_the_snapshot_gives_the_same_again(
    make_world: Callable[[], World], script: list[Any], cut: int
) -> None:
    world = make_world()
    for step in script:
        take(world, step)
    world.journal.fails_after = None
    del world.journal.records[cut % (len(world.journal.records) + 1) :]
    world.restart()
    assert {state.status.value for state in world.states().values()} <= SETTLED
    again = make_world()
    for record in world.coordinator.snapshot():
        again.coordinator.replay(record)
    assert again.states() == world.states()
    fresh = again.coordinator.init_producer_id(None, timeout_ms=0).producer_id
    assert fresh == world.coordinator.init_producer_id(None, timeout_ms=0).producer_id
    assert fresh not in {state.producer_id for state in world.states().values()}


@given(st.lists(steps, max_size=40))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_two_transactions_of_one_producer_epoch_end_differently_in_a_partition(
    make_world: Callable[[], World], script: list[Any]
) -> None:
    """An epoch only ever rises for a producer id, and after an epoch was fenced nothing of a lower one is marked."""
    world = make_world()
    for step in script:
        take(world, step)
    highest: dict[tuple[str, int, int], int] = {}
    for topic, partition, producer_id, epoch, _commit in world.partitions.markers:
        key = (topic, partition, producer_id)
        assert epoch >= highest.get(key, 0)
        highest[key] = epoch
    assert all(state.status is not TransactionStatus.DEAD for state in world.states().values())
