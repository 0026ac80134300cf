"""What a start does with an open transaction in a log that the journal does not know: power loss took one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.broker.transactions.adoption import OpenTransaction

if TYPE_CHECKING:
    from tests.unit.broker.transactions.conftest import World


def adopt(world: World, *found: OpenTransaction) -> None:
    """A start whose logs have these open transactions."""
    world.restart()
    world.partitions.markers.clear()
    world.coordinator.adopt(found, highest_producer_id=max(place.producer_id for place in found))


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("version", [1, 2])
def test_a_lost_marker_is_written_again_as_it_was_decided(world: World, version: int, commit: bool) -> None:
    producer_id, epoch = world.init()
    world.coordinator.add_partitions("t", producer_id, epoch, [("a", 0), ("a", 1)], transaction_version=version)
    world.coordinator.end("t", producer_id, epoch, commit=commit, transaction_version=version)
    (first, second) = world.partitions.markers
    adopt(world, OpenTransaction("a", 1, producer_id, epoch))
    assert first[3:] == second[3:]
    assert world.partitions.markers == [second]


@pytest.mark.parametrize("transactions_before", [0, 1])
@pytest.mark.parametrize("version", [1, 2])
def test_a_partition_whose_joining_was_lost_joins_again(world: World, version: int, transactions_before: int) -> None:
    producer_id, epoch = world.init()
    if version == 1:  # a client of version 1 writes only after its AddPartitionsToTxn was answered
        world.coordinator.add_partitions("t", producer_id, epoch, [("a", 0)])
    for _ in range(transactions_before if version == 2 else 0):
        world.coordinator.add_partitions("t", producer_id, epoch, [("a", 0)], transaction_version=2)
        epoch = world.coordinator.end("t", producer_id, epoch, commit=True, transaction_version=2).producer_epoch
    adopt(world, OpenTransaction("a", 1, producer_id, epoch))
    assert world.partitions.markers == []
    assert ("a", 1) in world.states()["t"].partitions
    answer = world.coordinator.end("t", producer_id, epoch, commit=True, transaction_version=version)
    assert answer.error.name == "none"
    assert [marker[:2] for marker in world.partitions.markers][-1:] == [("a", 1)]


def test_a_partition_that_the_journal_knows_is_left_alone(world: World) -> None:
    producer_id, epoch = world.init()
    world.coordinator.add_partitions("t", producer_id, epoch, [("a", 0)])
    written = list(world.journal.records)
    adopt(world, OpenTransaction("a", 0, producer_id, epoch))
    assert (world.partitions.markers, world.journal.records) == ([], written)


def test_a_transaction_of_a_producer_that_is_not_known_is_aborted(world: World) -> None:
    adopt(world, OpenTransaction("a", 0, 7, 3))
    assert world.partitions.markers == [("a", 0, 7, 3, False)]


def test_a_producer_id_that_a_log_has_is_not_given_out_again(world: World) -> None:
    adopt(world, OpenTransaction("a", 0, 7, 3))
    assert world.init()[0] == 8
