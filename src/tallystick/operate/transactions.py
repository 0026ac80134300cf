"""Transactions of a cluster: listed, described, found hanging, ended (KIP-664).

Owns: the coordinators' side, and the comparison of both sides. Must not know: how it is shown.

A transaction *hangs* when a partition holds one open and no coordinator will ever end it: then the partition's last
stable offset stands still for every ``read_committed`` reader, for ever. Ending one is a decision: its records become
aborted.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from tallystick.errors import FatalError
from tallystick.operate.cluster import Cluster, CoordinatorOf, TopicPartition, check
from tallystick.operate.connection import Versions
from tallystick.operate.producers import ActiveProducer, active_producers

LIST_TRANSACTIONS: Final = Versions("list_transactions", 0, 1)
DESCRIBE_TRANSACTIONS: Final = Versions("describe_transactions", 0, 0)
WRITE_TXN_MARKERS: Final = Versions("write_txn_markers", 1, 1)
INIT_PRODUCER_ID: Final = Versions("init_producer_id", 3, 4)

OPEN_STATES: Final = ("Ongoing", "PrepareCommit", "PrepareAbort")
_LARGEST_TRANSACTIONAL_TIMEOUT_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Transaction:
    """What the coordinator of a transactional id knows. ``age_ms`` is None while no transaction is open."""

    transactional_id: str
    producer_id: int
    state: str
    producer_epoch: int | None = None
    timeout_ms: int | None = None
    age_ms: int | None = None
    places: tuple[TopicPartition, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """One that a partition holds open, and who coordinates it, if anybody does."""

    producer: ActiveProducer
    age_ms: int
    transaction: Transaction | None

    @property
    def is_hanging(self) -> bool:
        """Whether nobody will end it: no coordinator has it open with this partition in it."""
        known = self.transaction
        return known is None or known.state not in OPEN_STATES or self.producer.place not in known.places


def list_transactions(cluster: Cluster, *, states: Iterable[str] = ()) -> list[Transaction]:
    """Every transactional id that the brokers coordinate, by name; only those in ``states`` if any are given."""
    wanted = tuple(states)

    def ask() -> list[Transaction]:
        found = []
        for connection in cluster.each_broker():
            answer = connection.ask(LIST_TRANSACTIONS, state_filters=wanted, producer_id_filters=())
            check(answer.error_code, "the list of transactions")
            if answer.unknown_state_filters:
                raise FatalError(f"the broker knows no transaction state {', '.join(answer.unknown_state_filters)}")
            found += [
                Transaction(row.transactional_id, int(row.producer_id), row.transaction_state)
                for row in answer.transaction_states
            ]
        return sorted(found, key=lambda transaction: transaction.transactional_id)

    return cluster.settled(ask)


def describe_transaction(cluster: Cluster, transactional_id: str, *, now_ms: int) -> Transaction:
    """All that its coordinator knows; ``FatalError`` if the id is unknown."""

    def ask() -> Transaction:
        connection = cluster.coordinator(CoordinatorOf.TRANSACTION, transactional_id)
        answer = connection.ask(DESCRIBE_TRANSACTIONS, transactional_ids=(transactional_id,))
        (row,) = answer.transaction_states
        check(row.error_code, f"transactional id {transactional_id!r}")
        return _described(row, now_ms)

    return cluster.settled(ask)


def open_transactions(cluster: Cluster, places: Iterable[TopicPartition], *, now_ms: int) -> list[OpenTransaction]:
    """Those that these partitions hold open, oldest first, each with its coordinator's view.

    Partition and coordinator cannot be asked in one moment. So what seems to hang is looked for again in its partition
    after the coordinator has spoken: a coordinator has a partition in its transaction from before the first write
    until after the marker, so that one which is open before *and* after cannot have been forgotten in between.
    """
    asked = list(places)
    found = _with_coordinators(cluster, _open_in(cluster, asked), now_ms=now_ms)
    suspects = {row.producer.place for row in found if row.is_hanging}
    if suspects:
        still = {(row.place, row.producer_id, row.open_from) for row in _open_in(cluster, suspects)}
        found = [
            row
            for row in found
            if not row.is_hanging or (row.producer.place, row.producer.producer_id, row.producer.open_from) in still
        ]
    return sorted(found, key=lambda row: (-row.age_ms, row.producer.place))


def _open_in(cluster: Cluster, places: Iterable[TopicPartition]) -> list[ActiveProducer]:
    return [producer for producer in active_producers(cluster, places) if producer.open_from is not None]


def _with_coordinators(cluster: Cluster, producers: list[ActiveProducer], *, now_ms: int) -> list[OpenTransaction]:
    wanted = {producer.producer_id for producer in producers}
    known: dict[int, Transaction] = {}
    if wanted:
        for listed in list_transactions(cluster):
            if listed.producer_id in wanted:
                known[listed.producer_id] = describe_transaction(cluster, listed.transactional_id, now_ms=now_ms)
    return [
        OpenTransaction(producer, max(0, now_ms - producer.last_write_ms), known.get(producer.producer_id))
        for producer in producers
    ]


def fence(cluster: Cluster, transactional_id: str) -> tuple[int, int]:
    """End the open transaction of an id by abort, and fence its producer: the id and epoch that are now the newest.

    This is what a successor does at its start (InitProducerId). A program that still runs under this id is stopped by
    it. A transaction whose end is decided already is carried to that end, not to the other one.
    """

    def ask() -> tuple[int, int]:
        connection = cluster.coordinator(CoordinatorOf.TRANSACTION, transactional_id)
        answer = connection.ask(
            INIT_PRODUCER_ID,
            transactional_id=transactional_id,
            transaction_timeout=datetime.timedelta(milliseconds=_LARGEST_TRANSACTIONAL_TIMEOUT_MS),
            producer_id=-1,
            producer_epoch=-1,
        )
        check(answer.error_code, f"fencing of transactional id {transactional_id!r}")
        return int(answer.producer_id), int(answer.producer_epoch)

    return cluster.settled(ask)


def abort_hanging(cluster: Cluster, found: OpenTransaction) -> None:
    """Write an abort marker over a hanging transaction, past its coordinator.

    ``FatalError`` if it does not hang: then ``fence`` ends it, or its own time does, and a marker of ours could tear
    it, one partition aborted and the others committed.
    """
    producer, transaction = found.producer, found.transaction
    if not found.is_hanging and transaction is not None:
        raise FatalError(
            f"the transaction on {producer.place} does not hang: {transaction.transactional_id!r} is "
            f"{transaction.state}. Abort it by its transactional id"
        )

    def ask() -> None:
        for connection, _ in cluster.by_leader([producer.place]):
            topic = connection.part(
                WRITE_TXN_MARKERS,
                "WritableTxnMarkerTopic",
                name=producer.place.topic,
                partition_indexes=(producer.place.partition,),
            )
            marker = connection.part(
                WRITE_TXN_MARKERS,
                "WritableTxnMarker",
                producer_id=producer.producer_id,
                producer_epoch=producer.producer_epoch,
                transaction_result=False,
                topics=(topic,),
                coordinator_epoch=max(producer.coordinator_epoch, 0),
            )
            answer = connection.ask(WRITE_TXN_MARKERS, markers=(marker,))
            check(answer.markers[0].topics[0].partitions[0].error_code, f"the abort marker on {producer.place}")

    cluster.settled(ask)


def _described(row: Any, now_ms: int) -> Transaction:
    started_ms = int(row.transaction_start_time)
    places = tuple(
        TopicPartition(topic.topic, int(partition)) for topic in row.topics for partition in sorted(topic.partitions)
    )
    return Transaction(
        transactional_id=row.transactional_id,
        producer_id=int(row.producer_id),
        state=row.transaction_state,
        producer_epoch=int(row.producer_epoch),
        timeout_ms=round(row.transaction_timeout.total_seconds() * 1000),
        age_ms=max(0, now_ms - started_ms) if started_ms > 0 and row.transaction_state in OPEN_STATES else None,
        places=places,
    )
