"""Rule 15 over the wire: what was held back on a connection that was given up does not touch the next transaction.

A client sends EndTxn, loses the connection, sends EndTxn again over a new one and goes on; then the first EndTxn
arrives. Under transaction version 1 both transactions have the same epoch. Apache Kafka 4.3 lets it end the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.broker.in_process import RawClient

from tallystick.broker import EmbeddedBroker
from tallystick.wire import schema
from tallystick.wire.frames import read_response, write_request

KEYS = {"init_producer_id": 22, "add_partitions_to_txn": 24, "add_offsets_to_txn": 25, "end_txn": 26}
VERSION = 3


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


class Producer:
    """One producer that may talk over several connections."""

    def __init__(self, broker: EmbeddedBroker, transactional_id: str) -> None:
        self.broker = broker
        self.transactional_id = transactional_id
        self.producer_id = self.producer_epoch = -1

    def connect(self) -> RawClient:
        return RawClient(self.broker.host, self.broker.port)

    def ask(self, connection: RawClient, name: str, **fields: Any) -> Any:
        build = schema.request(name, VERSION)
        class_name = "".join(part.capitalize() for part in name.split("_")) + "Request"
        connection.send(write_request(1, "late", getattr(build, class_name)(**fields)))
        frame = connection.receive()
        assert frame is not None
        return read_response(frame, KEYS[name], VERSION)[1]

    def _owner(self) -> dict[str, Any]:
        return {
            "transactional_id": self.transactional_id,
            "producer_id": self.producer_id,
            "producer_epoch": self.producer_epoch,
        }

    def init(self, connection: RawClient) -> None:
        answer = self.ask(
            connection,
            "init_producer_id",
            transactional_id=self.transactional_id,
            transaction_timeout=timedelta(minutes=1),
        )
        self.producer_id, self.producer_epoch = answer.producer_id, answer.producer_epoch

    def begin(self, connection: RawClient) -> str:
        answer = self.ask(connection, "add_offsets_to_txn", group_id="g", **self._owner())
        return str(answer.error_code.name)

    def end(self, connection: RawClient, *, commit: bool) -> str:
        return str(self.ask(connection, "end_txn", committed=commit, **self._owner()).error_code.name)


@pytest.mark.parametrize("commit_late", [True, False])
def test_a_late_end_of_the_last_transaction_does_not_end_the_next(broker: EmbeddedBroker, commit_late: bool) -> None:
    producer = Producer(broker, f"late-{commit_late}")
    held = producer.connect()
    producer.init(held)
    assert producer.begin(held) == "none"
    # The connection is cut on the client's side; its EndTxn is still on its way.
    fresh = producer.connect()
    assert producer.end(fresh, commit=commit_late) == "none"
    assert producer.begin(fresh) == "none"
    assert producer.end(held, commit=commit_late) == "producer_fenced"
    assert producer.end(fresh, commit=not commit_late) == "none", "the next transaction is still the producer's own"
    for connection in (held, fresh):
        connection.close()


def test_a_late_beginning_does_not_open_a_transaction(broker: EmbeddedBroker) -> None:
    producer = Producer(broker, "late-begin")
    held = producer.connect()
    producer.init(held)
    fresh = producer.connect()
    assert producer.begin(fresh) == "none"
    assert producer.end(fresh, commit=True) == "none"
    assert producer.begin(held) == "producer_fenced"
    assert producer.end(fresh, commit=True) == "none", "nothing was opened since"
    for connection in (held, fresh):
        connection.close()
