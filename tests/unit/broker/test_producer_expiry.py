"""Producer ids are forgotten by a partition when they idled for long enough, and never with a transaction open."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.unit.broker.in_process import opened

from tallystick.broker.partition import Partition
from tallystick.broker.producer_expiry import ProducerExpiry
from tallystick.broker.transactions.settings import TransactionSettings
from tallystick.clock import ManualClock
from tallystick.errors import IllegalTransition
from tallystick.wire.errors import ApiError
from tallystick.wire.records import BatchSpec, encode_batch

SETTINGS = TransactionSettings(producer_id_expiration_ms=1_000, producer_id_expiration_check_interval_ms=100)


@dataclass
class Asked:
    times: list[int] = field(default_factory=list)

    def expire_producers(self, *, now_ms: int, expiration_ms: int) -> int:
        assert expiration_ms == SETTINGS.producer_id_expiration_ms
        self.times.append(now_ms)
        return 1


def write(partition: Partition, producer_id: int, sequence: int, *, transactional: bool = False) -> None:
    spec = BatchSpec(
        producer_id=producer_id, producer_epoch=0, base_sequence=sequence, transactional=transactional, timestamp_ms=5
    )
    partition.append(encode_batch([(None, b"x")], spec), verify=lambda *_: 0)


def test_partitions_look_once_an_interval() -> None:
    expiry, asked = ProducerExpiry(SETTINGS), Asked()
    forgotten = [expiry.tick(now_ms, [asked, asked]) for now_ms in (7, 8, 106, 107, 250)]
    assert asked.times == [7, 7, 107, 107, 250, 250]
    assert forgotten == [2, 0, 0, 2, 2]


def test_an_idle_producer_is_forgotten_and_one_that_writes_is_not(tmp_path: Path) -> None:
    clock = ManualClock(start_ms=10_000)
    with opened(tmp_path, clock=clock, transaction_settings=SETTINGS) as node:
        partition = node.partitions.create("t", partition_count=1).partitions[0]
        for producer_id in (1, 2):
            write(partition, producer_id, 0)
        write(partition, 3, 0, transactional=True)
        known = []
        for number in range(1, 14):
            write(partition, 1, number)
            node.tick()
            known.append(set(partition.producers.producers))
            clock.advance(by_ms=100)
        assert known[9] == {1, 2, 3}, "not before its time, whatever the records' time stamps say"
        assert known[10] == {1, 3}
        assert known[-1] == {1, 3}, "an open transaction keeps its producer"
        with pytest.raises(ApiError, match="OUT_OF_ORDER"):
            write(partition, 1, 99)
        write(partition, 2, 7)  # whatever it sends is taken as its first
    with opened(tmp_path, clock=clock, transaction_settings=SETTINGS) as node:
        again = node.partitions.partition("t", 0)
        assert again is not None
        clock.advance(by_ms=999)
        node.tick()
        assert {1, 2, 3} <= set(again.producers.producers), "a restart begins anew"


def test_a_producer_with_an_open_transaction_cannot_be_forgotten(tmp_path: Path) -> None:
    with opened(tmp_path) as node:
        partition = node.partitions.create("t", partition_count=1).partitions[0]
        write(partition, 3, 0, transactional=True)
        with pytest.raises(IllegalTransition):
            partition.producers.forget(3)
        assert partition.last_stable_offset == 0
