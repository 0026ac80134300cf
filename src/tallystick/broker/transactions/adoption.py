"""Open transactions that a start finds in a log, and that the journal does not know.

Owns: what becomes of them. Must not know: how a transaction is ended.

Log and journal are two files: of what was not acknowledged yet, power loss may keep either and take the other. Left
alone, the records would hold the last stable offset back for ever, and the next transaction of that producer would end
them in its own way.

- The journal has a decision, a marker is lost: it is written again, so that the transaction ends alike everywhere.
- The journal lost its end, in which the partition joined the transaction of the present producer: it joins again, and a
  retry of the records finds everything as it was.
- Anything else takes a policy that promises nothing about power loss: the transaction is aborted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from tallystick.broker.ports import PartitionWriter
from tallystick.broker.transactions.records import EPOCH_RISES_AT_END, TransactionState, TransactionStatus
from tallystick.broker.transactions.requests import AddToTransaction
from tallystick.wire.errors import ErrorCode

log = structlog.get_logger(__name__)

Execute = Callable[[str, AddToTransaction], ErrorCode]


class OpenTransaction(NamedTuple):
    """A partition's log has records of a transaction, and no marker that ends it."""

    topic: str
    partition: int
    producer_id: int
    producer_epoch: int


class Decided(NamedTuple):
    """How a transaction was to end, and the epoch of its markers."""

    marker_epoch: int
    commit: bool
    transaction_version: int

    def ends(self, producer_epoch: int) -> bool:
        """Whether it is about the records of this epoch. In version 1 the markers have the records' own epoch, unless
        the producer was fenced; in version 2 always the next one, and that is the next transaction's own."""
        behind = self.marker_epoch - producer_epoch
        return behind == 1 or (behind == 0 and self.transaction_version < EPOCH_RISES_AT_END)


class Decisions:
    """The last decision about each producer id in the journal: all before it were acknowledged, markers and all."""

    def __init__(self) -> None:
        self._by_producer: dict[int, Decided] = {}

    def note(self, record: TransactionState) -> None:
        """A record of the journal, in its order."""
        if record.status in (TransactionStatus.PREPARE_COMMIT, TransactionStatus.PREPARE_ABORT):
            commit = record.status is TransactionStatus.PREPARE_COMMIT
            decided = Decided(record.producer_epoch, commit, record.client_transaction_version)
            self._by_producer[record.producer_id] = decided

    def about(self, place: OpenTransaction) -> Decided | None:
        decided = self._by_producer.get(place.producer_id)
        return decided if decided is not None and decided.ends(place.producer_epoch) else None


@dataclass(frozen=True, slots=True)
class Adoption:
    """Settles what the logs have and the journal lacks."""

    execute: Execute
    partitions: PartitionWriter
    coordinator_epoch: int
    now_ms: int

    def settle(
        self, found: Iterable[OpenTransaction], states: Iterable[TransactionState], decisions: Decisions
    ) -> None:
        """Every one of ``found`` that no state knows. ``OSError``: some are not settled yet."""
        owners = {state.producer_id: state for state in states}
        for place in found:
            state = owners.get(place.producer_id)
            if state is None or not _knows(state, place):
                outcome = self._settle(place, state, decisions.about(place))
                log.warning("the journal does not know an open transaction", **place._asdict(), outcome=outcome)

    def _settle(self, place: OpenTransaction, state: TransactionState | None, decided: Decided | None) -> str:
        if decided is not None:
            self._end(place, decided.marker_epoch, commit=decided.commit)
            return "ended as it was decided"
        if state is not None:
            request = AddToTransaction(
                place.producer_id,
                place.producer_epoch,
                partitions=((place.topic, place.partition),),
                transaction_version=state.client_transaction_version,
            )
            if self.execute(state.transactional_id, request) is ErrorCode.none:
                return "it goes on"
        self._end(place, place.producer_epoch, commit=False)
        return "aborted"

    def _end(self, place: OpenTransaction, epoch: int, *, commit: bool) -> None:
        self.partitions.append_marker(
            place.topic,
            place.partition,
            producer_id=place.producer_id,
            producer_epoch=epoch,
            commit=commit,
            coordinator_epoch=self.coordinator_epoch,
            now_ms=self.now_ms,
        )


def _knows(state: TransactionState, place: OpenTransaction) -> bool:
    return state.status is TransactionStatus.ONGOING and (place.topic, place.partition) in state.partitions
