"""The coordinator: what is written where before a request is answered, and what a crash leaves."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import pytest
from tests.unit.broker.transactions.conftest import World

from tallystick.broker.transactions.settings import DEFAULTS, TransactionSettings
from tallystick.wire.errors import ErrorCode


def begin(world: World, transactional_id: str = "t", **options: Any) -> tuple[int, int]:
    owner = world.init(transactional_id, **options)
    assert world.coordinator.add_partitions(transactional_id, *owner, [("a", 0), ("b", 1)]) is ErrorCode.none
    assert world.coordinator.add_group(transactional_id, *owner, "g") is ErrorCode.none
    return owner


def admitted(world: World, owner: tuple[int, int], *, connection_id: int) -> ErrorCode:
    return world.coordinator.admit_offsets("t", *owner, "g", transaction_version=0, connection_id=connection_id)


@pytest.mark.parametrize("commit", [True, False])
def test_a_transaction_ends_with_a_marker_in_every_partition_and_its_offsets_settled(
    world: World, commit: bool
) -> None:
    owner = begin(world)
    assert world.coordinator.end("t", *owner, commit=commit).error is ErrorCode.none
    assert world.partitions.markers == [("a", 0, *owner, commit), ("b", 1, *owner, commit)]
    assert world.groups.completed == [("g", owner[0], commit)]


def test_ending_again_with_the_same_result_succeeds_and_writes_no_second_marker(world: World) -> None:
    owner = begin(world)
    world.coordinator.end("t", *owner, commit=True)
    assert world.coordinator.end("t", *owner, commit=True).error is ErrorCode.none
    assert world.coordinator.end("t", *owner, commit=False).error is ErrorCode.invalid_txn_state
    assert len(world.partitions.markers) == 2


def test_the_next_transaction_can_begin_at_once(world: World) -> None:
    owner = begin(world)
    world.coordinator.end("t", *owner, commit=True)
    assert world.coordinator.add_partitions("t", *owner, [("c", 0)]) is ErrorCode.none
    world.coordinator.end("t", *owner, commit=False)
    assert world.partitions.markers[2:] == [("c", 0, *owner, False)]


def test_a_successor_fences_the_open_transaction_and_aborts_it_before_it_is_answered(world: World) -> None:
    producer_id, epoch = begin(world)
    successor = world.init()
    assert successor == (producer_id, epoch + 2)
    assert world.partitions.markers == [
        ("a", 0, producer_id, epoch + 1, False),
        ("b", 1, producer_id, epoch + 1, False),
    ]
    assert world.groups.completed == [("g", producer_id, False)]
    for commit in (True, False):
        assert world.coordinator.end("t", producer_id, epoch, commit=commit).error is ErrorCode.producer_fenced
    assert world.coordinator.add_partitions("t", producer_id, epoch, [("a", 0)]) is ErrorCode.producer_fenced
    assert world.coordinator.verify_partition("t", producer_id, epoch, "a", 0) is ErrorCode.producer_fenced


def test_a_zombie_that_names_its_old_epoch_does_not_abort_its_successors_transaction(world: World) -> None:
    producer_id, epoch = begin(world)
    successor = begin(world)
    zombie = world.coordinator.init_producer_id("t", timeout_ms=1_000, producer_id=producer_id, producer_epoch=epoch)
    assert zombie.error is ErrorCode.producer_fenced
    assert world.coordinator.end("t", *successor, commit=True).error is ErrorCode.none


def test_an_owner_may_bump_its_own_epoch_in_an_open_transaction(world: World) -> None:
    producer_id, epoch = begin(world)
    bumped = world.init(producer_id=producer_id, producer_epoch=epoch)
    assert bumped == (producer_id, epoch + 1)
    assert [marker[-1] for marker in world.partitions.markers] == [False, False]


def test_a_timeout_aborts_and_raises_the_epoch(world: World) -> None:
    producer_id, epoch = begin(world)
    world.clock.advance(by_ms=59_999)
    world.coordinator.tick(world.clock.now_ms())
    assert world.partitions.markers == []
    world.clock.advance(by_ms=1)
    world.coordinator.tick(world.clock.now_ms())
    assert world.partitions.markers == [
        ("a", 0, producer_id, epoch + 1, False),
        ("b", 1, producer_id, epoch + 1, False),
    ]
    assert world.coordinator.end("t", producer_id, epoch, commit=True).error is ErrorCode.producer_fenced


def test_a_transactional_id_is_forgotten_when_it_idled_for_its_expiration_time(world: World) -> None:
    owner = world.init()
    world.clock.advance(by_ms=DEFAULTS.transactional_id_expiration_ms)
    world.coordinator.tick(world.clock.now_ms())
    assert world.coordinator.transactions() == ()
    assert world.coordinator.add_partitions("t", *owner, [("a", 0)]) is ErrorCode.invalid_producer_id_mapping
    world.restart()
    assert world.coordinator.transactions() == ()


@pytest.mark.parametrize("timeout_ms", [0, -1, DEFAULTS.transaction_max_timeout_ms + 1])
def test_a_transaction_timeout_out_of_range_is_refused(world: World, timeout_ms: int) -> None:
    producer = world.coordinator.init_producer_id("t", timeout_ms=timeout_ms)
    assert producer.error is ErrorCode.invalid_transaction_timeout


@pytest.mark.parametrize(
    ("transactional_id", "named"), [("", {}), ("t", {"producer_id": 3}), ("t", {"producer_epoch": 3})]
)
def test_a_malformed_initialisation_is_refused(world: World, transactional_id: str, named: dict[str, int]) -> None:
    producer = world.coordinator.init_producer_id(transactional_id, timeout_ms=1, **named)
    assert producer.error is ErrorCode.invalid_request


def test_producer_ids_are_never_given_out_twice_even_over_a_crash(world: World) -> None:
    given = [world.coordinator.init_producer_id(None, timeout_ms=0).producer_id for _ in range(1_500)]
    given.append(world.init()[0])
    world.restart()
    given.extend(world.coordinator.init_producer_id(None, timeout_ms=0).producer_id for _ in range(1_500))
    assert len(set(given)) == 3_001
    assert min(given) >= 0


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ({}, ErrorCode.none),
        ({"partition": 9}, ErrorCode.transaction_abortable),
        ({"transactional_id": "unknown"}, ErrorCode.invalid_producer_id_mapping),
        ({"producer_id": 4_000}, ErrorCode.invalid_producer_id_mapping),
        ({"producer_epoch": 9}, ErrorCode.producer_fenced),
    ],
)
def test_a_batch_is_accepted_only_from_the_owner_into_a_partition_of_its_open_transaction(
    world: World, what: dict[str, Any], expected: ErrorCode
) -> None:
    producer_id, epoch = begin(world)
    asked: dict[str, Any] = {
        "transactional_id": "t",
        "producer_id": producer_id,
        "producer_epoch": epoch,
        "topic": "a",
        "partition": 0,
    }
    assert world.coordinator.verify_partition(**(asked | what)) == expected


def test_nothing_is_accepted_after_the_end_of_the_transaction(world: World) -> None:
    owner = begin(world)
    assert world.coordinator.verify_group("t", *owner, "g") is ErrorCode.none
    world.coordinator.end("t", *owner, commit=True)
    assert world.coordinator.verify_partition("t", *owner, "a", 0) is ErrorCode.transaction_abortable
    assert world.coordinator.verify_group("t", *owner, "g") is ErrorCode.transaction_abortable


def test_a_request_that_arrives_late_on_a_superseded_connection_does_not_end_the_next_transaction(world: World) -> None:
    owner = begin(world, connection_id=1)
    assert world.coordinator.end("t", *owner, commit=True, connection_id=2).error is ErrorCode.none
    assert world.coordinator.add_partitions("t", *owner, [("c", 0)], connection_id=2) is ErrorCode.none
    assert world.coordinator.end("t", *owner, commit=True, connection_id=1).error is ErrorCode.producer_fenced
    assert world.coordinator.end("t", *owner, commit=False, connection_id=2).error is ErrorCode.none


def test_offsets_that_arrive_late_on_a_superseded_connection_do_not_take_the_next_ones_back(world: World) -> None:
    owner = begin(world, connection_id=1)
    assert admitted(world, owner, connection_id=3) is ErrorCode.none
    assert admitted(world, owner, connection_id=2) is ErrorCode.producer_fenced
    assert admitted(world, owner, connection_id=3) is ErrorCode.none
    successor = begin(world, connection_id=1)
    assert admitted(world, successor, connection_id=2) is ErrorCode.none


def test_made_up_transactional_ids_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick.broker.transactions.coordinator.MAX_TRANSACTIONAL_IDS", 2)
    world.init("t")
    world.init("u")
    refused = world.coordinator.init_producer_id("v", timeout_ms=1_000)
    assert refused.error is ErrorCode.coordinator_not_available
    assert world.init("t")[1] == 1


def test_a_zombie_on_a_newer_connection_does_not_supersede_the_owner(world: World) -> None:
    zombie = begin(world, connection_id=9)
    owner = world.init(connection_id=1)
    assert world.coordinator.end("t", *zombie, commit=True, connection_id=9).error is ErrorCode.producer_fenced
    assert world.coordinator.add_partitions("t", *owner, [("a", 0)], connection_id=1) is ErrorCode.none


# --- crashes and full disks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("commit", [True, False])
def test_recovery_completes_what_was_prepared(world: World, commit: bool) -> None:
    owner = begin(world)
    world.journal.fails_after = 1  # the preparation is written, the completion is not
    assert world.coordinator.end("t", *owner, commit=commit).error is ErrorCode.coordinator_not_available
    world.journal.fails_after = None
    world.partitions.markers.clear()
    world.groups.completed.clear()
    world.restart()
    assert world.partitions.markers == [("a", 0, *owner, commit), ("b", 1, *owner, commit)]
    assert world.groups.completed == [("g", owner[0], commit)]
    assert world.coordinator.end("t", *owner, commit=commit).error is ErrorCode.none


def test_recovery_leaves_an_open_transaction_to_its_producer(world: World) -> None:
    owner = begin(world)
    world.restart()
    assert world.partitions.markers == []
    assert world.coordinator.verify_partition("t", *owner, "a", 0) == ErrorCode.none
    assert world.coordinator.end("t", *owner, commit=True).error is ErrorCode.none


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("writes_before_full", [0, 1])
def test_a_full_disk_at_the_end_of_a_transaction_is_told_and_the_retry_goes_through(
    world: World, commit: bool, writes_before_full: int
) -> None:
    owner = begin(world)
    world.journal.fails_after = writes_before_full
    assert world.coordinator.end("t", *owner, commit=commit).error is ErrorCode.coordinator_not_available
    world.journal.fails_after = None
    assert world.coordinator.end("t", *owner, commit=commit).error is ErrorCode.none
    assert world.partitions.markers[-1] == ("b", 1, *owner, commit)


def test_a_partition_that_cannot_take_its_marker_leaves_the_transaction_prepared_and_the_tick_completes_it(
    world: World,
) -> None:
    owner = begin(world)
    world.partitions.is_full = True
    assert world.coordinator.end("t", *owner, commit=True).error is ErrorCode.coordinator_not_available
    assert world.states()["t"].status.value == "PrepareCommit"
    assert world.coordinator.verify_partition("t", *owner, "a", 0) == ErrorCode.concurrent_transactions
    world.partitions.is_full = False
    world.coordinator.tick(world.clock.now_ms())
    assert world.states()["t"].status.value == "CompleteCommit"


@pytest.mark.parametrize("writes_before_full", range(4))
def test_a_full_disk_while_fencing_never_lets_the_old_producer_go_on(world: World, writes_before_full: int) -> None:
    producer_id, epoch = begin(world)
    world.journal.fails_after = writes_before_full
    refused = world.coordinator.init_producer_id("t", timeout_ms=60_000)
    assert refused.error is ErrorCode.coordinator_not_available
    world.journal.fails_after = None
    world.restart()
    successor = world.init()
    assert successor == (producer_id, epoch + 2)
    assert world.coordinator.end("t", producer_id, epoch, commit=True).error is ErrorCode.producer_fenced


# --- settings ---------------------------------------------------------------------------------------------------------


def test_timeouts_and_expiry_are_what_the_settings_say() -> None:
    world = World(
        TransactionSettings(
            transactional_id_expiration_ms=1_000,
            transaction_max_timeout_ms=60_000,
            transaction_remove_expired_transaction_cleanup_interval_ms=400,
        )
    )
    assert world.coordinator.init_producer_id("t", timeout_ms=60_001).error is ErrorCode.invalid_transaction_timeout
    world.init("t")
    known = []
    for _ in range(5):
        world.coordinator.tick(world.clock.now_ms())
        known.append(len(world.coordinator.transactions()))
        world.clock.advance(by_ms=300)
    assert known == [1, 1, 1, 1, 0], "looked at after 0, 600 and 1,200 ms"


def test_the_epoch_of_version_2_is_told_and_kept_over_a_restart(world: World) -> None:
    producer_id, epoch = begin(world)
    ended = world.coordinator.end("t", producer_id, epoch, commit=True, transaction_version=2)
    assert (ended.error, ended.producer_id, ended.producer_epoch) == (ErrorCode.none, producer_id, epoch + 1)
    assert world.partitions.markers == [("a", 0, producer_id, epoch + 1, True), ("b", 1, producer_id, epoch + 1, True)]
    world.restart()
    assert world.coordinator.end("t", producer_id, epoch, commit=True, transaction_version=2) == ended


def test_an_exhausted_producer_id_is_replaced_by_one_that_nobody_gets_again(world: World) -> None:
    producer_id, _ = world.init()
    (state,) = world.coordinator.transactions()
    world.coordinator.replay(msgspec.structs.replace(state, producer_epoch=32_766))
    assert world.coordinator.add_partitions("t", producer_id, 32_766, [("a", 0)], transaction_version=2).name == "none"
    ended = world.coordinator.end("t", producer_id, 32_766, commit=True, transaction_version=2)
    assert (ended.error, ended.producer_epoch) == (ErrorCode.none, 0)
    assert ended.producer_id != producer_id
    assert world.partitions.markers == [("a", 0, producer_id, 32_767, True)]
    others = {world.coordinator.init_producer_id(None, timeout_ms=0).producer_id for _ in range(3)}
    assert ended.producer_id not in others
    assert world.coordinator.end("t", producer_id, 32_766, commit=True, transaction_version=2) == ended


def test_a_producer_id_that_waits_for_its_transaction_to_complete_is_given_to_nobody_else(world: World) -> None:
    producer_id, _ = world.init()
    (state,) = world.coordinator.transactions()
    world.coordinator.replay(msgspec.structs.replace(state, producer_epoch=32_766))
    world.coordinator.add_partitions("t", producer_id, 32_766, [("a", 0)], transaction_version=2)
    end = functools.partial(world.coordinator.end, "t", producer_id, 32_766, commit=True, transaction_version=2)
    world.partitions.is_full = True
    assert end().error is ErrorCode.coordinator_not_available
    other, _ = world.init("u")
    world.partitions.is_full = False
    assert end().error is ErrorCode.none
    assert end().producer_id not in {other, producer_id}


def test_a_late_end_of_version_2_on_any_connection_meets_its_epoch_only(world: World) -> None:
    producer_id, epoch = begin(world, connection_id=1)
    end = functools.partial(world.coordinator.end, "t", producer_id, epoch, commit=True, transaction_version=2)
    assert end(connection_id=2).error is ErrorCode.none
    assert end(connection_id=1).error is ErrorCode.none, "a repeated answer, whatever connection it comes over"
    adding = world.coordinator.add_partitions(
        "t", producer_id, epoch + 1, [("c", 0)], transaction_version=2, connection_id=2
    )
    assert adding is ErrorCode.none
    assert end(connection_id=1).error is ErrorCode.producer_fenced
    assert end(connection_id=3).error is ErrorCode.producer_fenced
