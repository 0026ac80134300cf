"""A backup that is taken while clients write: a broker starts on it, and it is the original at one moment."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from tests.support.clients import WAIT_S
from tests.support.wire import WireClient
from tests.support.wire_producer import WireProducer

from tallystick.broker import EmbeddedBroker
from tallystick.broker.backup.copying import back_up
from tallystick.broker.inspection import check_folder

PARTITIONS = 3
TOPIC = "t"


@dataclass
class Writer:
    """Transactions of one record for each partition and an offset, one after the other, until it is told to stop.

    ``started``, ``committed``: the numbers of the transactions; every third is aborted.
    """

    bootstrap: str
    transactional_id: str
    stop: threading.Event = field(default_factory=threading.Event)
    committed: list[int] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap, "transactional.id": self.transactional_id})
        producer.init_transactions(WAIT_S)
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.transactional_id})
        number = 0
        while not self.stop.is_set():
            number += 1
            producer.begin_transaction()
            for partition in range(PARTITIONS):
                producer.produce(TOPIC, f"{self.transactional_id} {number}".encode(), partition=partition)
            offset = TopicPartition(TOPIC, 0, number)
            producer.send_offsets_to_transaction([offset], consumer.consumer_group_metadata(), WAIT_S)
            if number % 3:
                producer.commit_transaction(WAIT_S)
                self.committed.append(number)
            else:
                producer.abort_transaction(WAIT_S)
            if number == 40:
                self.enough.set()
        consumer.close()


@pytest.fixture(params=["never", "commit"])
def broker(request: pytest.FixtureRequest) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(fsync=request.param) as running:
        admin = AdminClient({"bootstrap.servers": running.bootstrap})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(WAIT_S)
        yield running


def visible(bootstrap: str) -> list[list[str]]:
    """What a reader of committed records finds in each partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": str(uuid.uuid4()),
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    found: list[list[str]] = [[] for _ in range(PARTITIONS)]
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
    ended: set[int] = set()
    while len(ended) < PARTITIONS:
        message = consumer.poll(WAIT_S)
        assert message is not None
        error, partition, value = message.error(), message.partition(), message.value()
        assert partition is not None
        if error is None:
            assert value is not None
            found[partition].append(value.decode())
        else:
            assert error.code() == KafkaError._PARTITION_EOF
            ended.add(partition)
    consumer.close()
    return found


def committed_offset(bootstrap: str, group: str) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    (row,) = consumer.committed([TopicPartition(TOPIC, 0)], WAIT_S)
    consumer.close()
    return int(row.offset)


def test_a_backup_under_load_has_all_that_was_acknowledged_and_transactions_whole(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    writers = [Writer(broker.bootstrap, name) for name in ("one", "two")]
    threads = [threading.Thread(target=writer.run) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        for writer in writers:
            assert writer.enough.wait(WAIT_S)
        before = [list(writer.committed) for writer in writers]
        done = back_up(broker.data, tmp_path / "copy")
        after = [list(writer.committed) for writer in writers]
    finally:
        for writer in writers:
            writer.stop.set()
        for thread in threads:
            thread.join(WAIT_S)
    assert done.online
    assert not check_folder(tmp_path / "copy").is_damaged
    with EmbeddedBroker(tmp_path / "copy") as restored:
        for writer in writers:  # InitProducerId ends what was open, and nobody is refused
            Producer(
                {"bootstrap.servers": restored.bootstrap, "transactional.id": writer.transactional_id}
            ).init_transactions(WAIT_S)
        partitions = visible(restored.bootstrap)
        for writer, sure, most in zip(writers, before, after, strict=True):
            found = [[v for v in values if v.startswith(writer.transactional_id)] for values in partitions]
            assert found[0] == found[1] == found[2]
            numbers = [int(value.split()[1]) for value in found[0]]
            assert numbers[: len(sure)] == sure
            assert set(numbers) <= {*most, most[-1] + 1, most[-1] + 2}
            assert committed_offset(restored.bootstrap, writer.transactional_id) == numbers[-1]


def test_producers_of_the_original_and_of_the_copy_never_share_an_id(broker: EmbeddedBroker, tmp_path: Path) -> None:
    def fresh_id(bootstrap: str) -> int:
        with WireClient(bootstrap) as client:
            producer = WireProducer(client, None)
            assert producer.init() == "none"
            return producer.producer_id

    fresh_id(broker.bootstrap)
    back_up(broker.data, tmp_path / "copy")
    later = {fresh_id(broker.bootstrap) for _ in range(5)}
    with EmbeddedBroker(tmp_path / "copy") as restored:
        assert fresh_id(restored.bootstrap) > max(later) + 1_000_000
