"""What is concluded from what a cluster says: lag, hanging, moves."""

from __future__ import annotations

import pytest

from tallystick.errors import ConfigurationError
from tallystick.operate.cluster import TopicPartition
from tallystick.operate.groups import Group
from tallystick.operate.lag import PartitionLag
from tallystick.operate.producers import ActiveProducer
from tallystick.operate.resets import Target
from tallystick.operate.transactions import OpenTransaction, Transaction

PLACE = TopicPartition("t", 0)


def an_open_one(transaction: Transaction | None) -> OpenTransaction:
    producer = ActiveProducer(PLACE, 1, 0, 0, 0, 0, open_from=5)
    return OpenTransaction(producer, 1_000, transaction)


@pytest.mark.parametrize("state", ["Ongoing", "PrepareCommit", "PrepareAbort"])
def test_a_transaction_that_its_coordinator_has_open_does_not_hang(state: str) -> None:
    assert not an_open_one(Transaction("x", 1, state, places=(PLACE,))).is_hanging


@pytest.mark.parametrize(
    "transaction",
    [
        None,
        Transaction("x", 1, "CompleteCommit", places=(PLACE,)),
        Transaction("x", 1, "Empty"),
        Transaction("x", 1, "Ongoing", places=(TopicPartition("t", 1),)),
    ],
)
def test_one_that_no_coordinator_will_end_hangs(transaction: Transaction | None) -> None:
    assert an_open_one(transaction).is_hanging


def test_lag_ends_at_the_last_stable_offset_and_is_never_negative() -> None:
    row = PartitionLag(PLACE, committed_offset=3, last_stable_offset=5, high_watermark=9)
    assert (row.lag_records, row.withheld_records) == (2, 4)
    assert PartitionLag(PLACE, committed_offset=6, last_stable_offset=5, high_watermark=9).lag_records == 0


@pytest.mark.parametrize("state", ["Stable", "PreparingRebalance", "CompletingRebalance", "Assigning"])
def test_a_group_in_any_busy_state_counts_as_having_members(state: str) -> None:
    assert Group("g", "classic", state).has_members
    assert not Group("g", "classic", "Empty").has_members


def test_a_reset_has_exactly_one_target() -> None:
    for wrong in ({}, {"offset": 1, "shift": 2}):
        with pytest.raises(ConfigurationError, match="one target"):
            Target(**wrong)
    assert Target(shift=0).shift == 0
