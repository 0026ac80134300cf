"""Drives the transaction state machines: append, apply, then do what was decided.

Owns: the states of all transactional ids, and completing a prepared transaction (markers into every partition, offsets
in every group). Must not know: the protocol's encoding, how partitions and journals store.

Everything runs to the end within one call: when EndTxn or InitProducerId is answered, markers and offsets are in
place, so that the next transaction never meets CONCURRENT_TRANSACTIONS (rule 20).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from tallystick.broker.ports import Journal, JournalRecord, PartitionWriter
from tallystick.broker.transactions import machine
from tallystick.broker.transactions.machine import Then
from tallystick.broker.transactions.producer_ids import ProducerIds
from tallystick.broker.transactions.records import (
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    ProducerIdsReserved,
    TransactionState,
    TransactionStatus,
)
from tallystick.clock import Clock
from tallystick.errors import IllegalTransition
from tallystick.killpoints import declare, reach
from tallystick.wire.errors import ErrorCode

log = structlog.get_logger(__name__)

MAX_TIMEOUT_MS: Final = 15 * 60 * 1000
"""Apache Kafka's default of ``transaction.max.timeout.ms``."""

EXPIRATION_MS: Final = 7 * 24 * 60 * 60 * 1000
"""Apache Kafka's default of ``transactional.id.expiration.ms``."""

COORDINATOR_EPOCH: Final = 0
"""There is one coordinator for ever, so its epoch never rises."""

MAX_TRANSACTIONAL_IDS: Final = 200_000
"""More than one machine's producers ever are: past it, something makes up ids (rule 5)."""

EXPIRY_CHECK_INTERVAL_MS: Final = 60_000
MAX_ROUNDS: Final = 3
"""A request is decided anew at most after completing a transaction once; one more is a bug."""

KILL_AFTER_PREPARE: Final = declare("broker.after-prepare", "EndTxn is decided and durable; no marker is written yet")
KILL_AFTER_MARKERS: Final = declare("broker.after-markers", "the markers are written; no offset is materialised yet")
KILL_BEFORE_COMPLETE: Final = declare(
    "broker.before-complete", "markers and offsets are in place; not noted as complete"
)

OPEN: Final = frozenset(
    {
        TransactionStatus.ONGOING,
        TransactionStatus.PREPARE_COMMIT,
        TransactionStatus.PREPARE_ABORT,
        TransactionStatus.PREPARE_EPOCH_FENCE,
    }
)


class Lane(enum.Enum):
    """A client talks to the transaction coordinator and to the group coordinator over a connection each."""

    COORDINATOR = "coordinator"
    OFFSETS = "offsets"


class PendingOffsets(Protocol):
    """What the transaction coordinator asks of the groups."""

    def complete_transaction(self, group_id: str, producer_id: int, *, commit: bool) -> None:
        """Make the producer's pending offsets visible, or drop them. Repeating it does nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Producer:
    """The answer to InitProducerId; id and epoch are -1 with an error."""

    error: ErrorCode
    producer_id: int = NO_PRODUCER_ID
    producer_epoch: int = NO_PRODUCER_EPOCH


class TransactionCoordinator:
    """Who owns each transactional id, and the one place where transactions end."""

    def __init__(self, journal: Journal, partitions: PartitionWriter, clock: Clock, groups: PendingOffsets) -> None:
        self._journal = journal
        self._partitions = partitions
        self._clock = clock
        self._groups = groups
        self._states: dict[str, TransactionState] = {}
        self._open: set[str] = set()
        self._producer_ids = ProducerIds(journal)
        self._connections: dict[tuple[str, Lane], int] = {}
        self._next_expiry_check_ms = 0

    # --- requests -----------------------------------------------------------------------------------------------------

    def init_producer_id(
        self,
        transactional_id: str | None,
        *,
        timeout_ms: int,
        producer_id: int = NO_PRODUCER_ID,
        producer_epoch: int = NO_PRODUCER_EPOCH,
        connection_id: int | None = None,
    ) -> Producer:
        """InitProducerId. Without a transactional id: a fresh producer id, for idempotence only."""
        try:
            if transactional_id is None:
                return Producer(ErrorCode.none, self._producer_ids.take(), 0)
            if not transactional_id or (producer_id < 0) != (producer_epoch < 0):
                return Producer(ErrorCode.invalid_request)
            if transactional_id not in self._states and len(self._states) >= MAX_TRANSACTIONAL_IDS:
                log.error("too many transactional ids", limit=MAX_TRANSACTIONAL_IDS)
                return Producer(ErrorCode.coordinator_not_available)
            if not 0 < timeout_ms <= MAX_TIMEOUT_MS:
                return Producer(ErrorCode.invalid_transaction_timeout)
            request = machine.InitProducerId(
                transactional_id=transactional_id,
                timeout_ms=timeout_ms,
                fresh_producer_id=self._producer_ids.peek(),
                producer_id=producer_id,
                producer_epoch=producer_epoch,
            )
            error = self._execute(transactional_id, request)
        except OSError as failure:
            return Producer(_not_written(failure))
        if error is not ErrorCode.none:
            return Producer(error)
        state = self._states[transactional_id]
        self._forget_connections(transactional_id)
        if connection_id is not None:
            self._connections[transactional_id, Lane.COORDINATOR] = connection_id
        return Producer(ErrorCode.none, state.producer_id, state.producer_epoch)

    def add_partitions(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        partitions: Iterable[tuple[str, int]],
        *,
        connection_id: int | None = None,
    ) -> ErrorCode:
        """AddPartitionsToTxn, all or nothing. The caller has checked that the partitions exist."""
        request = machine.AddToTransaction(producer_id, producer_epoch, partitions=tuple(partitions))
        return self._execute_owned(transactional_id, request, connection_id)

    def add_group(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        group_id: str,
        *,
        connection_id: int | None = None,
    ) -> ErrorCode:
        """AddOffsetsToTxn."""
        request = machine.AddToTransaction(producer_id, producer_epoch, groups=(group_id,))
        return self._execute_owned(transactional_id, request, connection_id)

    def end(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        *,
        commit: bool,
        connection_id: int | None = None,
    ) -> ErrorCode:
        """EndTxn. With ``none``, every marker and every offset is in place; asking again answers the same."""
        kind = machine.Commit if commit else machine.Abort
        return self._execute_owned(transactional_id, kind(producer_id, producer_epoch), connection_id)

    def verify_partition(
        self, transactional_id: str, producer_id: int, producer_epoch: int, topic: str, partition: int
    ) -> int:
        """The error code for a transactional batch: 0 if the open transaction of its producer has the partition."""
        return self._verify(transactional_id, producer_id, producer_epoch, (topic, partition), None).value

    def verify_group(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        group_id: str,
        *,
        connection_id: int | None = None,
    ) -> ErrorCode:
        """The same for TxnOffsetCommit: ``none`` if the producer's open transaction has the group."""
        error = self._verify(transactional_id, producer_id, producer_epoch, None, group_id)
        if error is ErrorCode.none and self._is_superseded(transactional_id, Lane.OFFSETS, connection_id):
            return ErrorCode.invalid_producer_epoch
        return error

    def _verify(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        partition: tuple[str, int] | None,
        group_id: str | None,
    ) -> ErrorCode:
        state = self._states.get(transactional_id)
        if state is None:
            return ErrorCode.invalid_producer_id_mapping
        error = machine.check_owner(state, producer_id, producer_epoch)
        if error is ErrorCode.producer_fenced:
            # Producers expect this name for it from Produce and TxnOffsetCommit.
            return ErrorCode.invalid_producer_epoch
        if error is not ErrorCode.none:
            return error
        if state.status in OPEN and state.status is not TransactionStatus.ONGOING:
            return ErrorCode.concurrent_transactions
        if state.status is TransactionStatus.ONGOING and (partition in state.partitions or group_id in state.groups):
            return ErrorCode.none
        return ErrorCode.invalid_txn_state

    def transactions(self) -> tuple[TransactionState, ...]:
        """Every known transactional id, in no order."""
        return tuple(self._states.values())

    def transaction(self, transactional_id: str) -> TransactionState | None:
        return self._states.get(transactional_id)

    # --- driving ------------------------------------------------------------------------------------------------------

    def _execute_owned(
        self,
        transactional_id: str,
        request: machine.AddToTransaction | machine.Commit | machine.Abort,
        connection_id: int | None,
    ) -> ErrorCode:
        state = self._states.get(transactional_id)
        if (
            state is not None
            and machine.check_owner(state, request.producer_id, request.producer_epoch) is ErrorCode.none
            and self._is_superseded(transactional_id, Lane.COORDINATOR, connection_id)
        ):
            return ErrorCode.producer_fenced
        try:
            return self._execute(transactional_id, request)
        except OSError as failure:
            return _not_written(failure)

    def _is_superseded(self, transactional_id: str, lane: Lane, connection_id: int | None) -> bool:
        """Whether the owner has sent requests of this kind over a newer connection; if not, this is its newest now.

        A client retries over a new connection what it gave up on an old one. If the old request arrives after all, it
        may end the next transaction of the same epoch, or take its offsets back (KAFKA-17754, rule 15).
        """
        if connection_id is None:
            return False
        newest = self._connections.get((transactional_id, lane), connection_id)
        self._connections[transactional_id, lane] = max(newest, connection_id)
        if connection_id < newest:
            log.warning("request on a superseded connection refused", transactional_id=transactional_id)
        return connection_id < newest

    def _forget_connections(self, transactional_id: str) -> None:
        for lane in Lane:
            self._connections.pop((transactional_id, lane), None)

    def _execute(self, transactional_id: str, request: machine.Request) -> ErrorCode:
        for _ in range(MAX_ROUNDS):
            now_ms = self._clock.now_ms()
            decision = machine.decide(self._states.get(transactional_id), request, now_ms)
            if decision.record is not None:
                self._write(decision.record)
            if decision.then is Then.REPLY:
                return decision.error
            self._complete(transactional_id, now_ms)
            if decision.then is Then.COMPLETE_AND_REPLY:
                return decision.error
        raise IllegalTransition("transaction", "undecided", type(request).__name__)

    def _write(self, record: TransactionState) -> None:
        self._journal.append(record)
        self._apply(record)

    def _apply(self, record: TransactionState) -> None:
        self._producer_ids.note_used(record.producer_id)
        machine.apply(self._states, record)
        if record.status in OPEN:
            self._open.add(record.transactional_id)
        else:
            self._open.discard(record.transactional_id)
        if record.status is TransactionStatus.DEAD:
            self._forget_connections(record.transactional_id)

    def _complete(self, transactional_id: str, now_ms: int) -> None:
        """Carry a fenced or prepared transaction to its end. ``OSError``: it stays prepared, and may be asked again."""
        state = self._states[transactional_id]
        if state.status is TransactionStatus.PREPARE_EPOCH_FENCE:
            self._decide_and_write(state, machine.AbortFenced(), now_ms)
            state = self._states[transactional_id]
        commit = state.status is TransactionStatus.PREPARE_COMMIT
        reach(KILL_AFTER_PREPARE)
        for topic, partition in state.partitions:
            self._partitions.append_marker(
                topic,
                partition,
                producer_id=state.producer_id,
                producer_epoch=state.producer_epoch,
                commit=commit,
                coordinator_epoch=COORDINATOR_EPOCH,
                now_ms=now_ms,
            )
        reach(KILL_AFTER_MARKERS)
        for group_id in state.groups:
            self._groups.complete_transaction(group_id, state.producer_id, commit=commit)
        reach(KILL_BEFORE_COMPLETE)
        self._decide_and_write(state, machine.MarkersWritten(), now_ms)

    def _decide_and_write(self, state: TransactionState, request: machine.Request, now_ms: int) -> None:
        record = machine.decide(state, request, now_ms).record
        if record is not None:
            self._write(record)

    # --- what the server asks -----------------------------------------------------------------------------------------

    def replay(self, record: JournalRecord) -> None:
        if isinstance(record, TransactionState):
            self._apply(record)
        elif isinstance(record, ProducerIdsReserved):
            self._producer_ids.apply(record)

    def snapshot(self) -> Iterable[JournalRecord]:
        yield self._producer_ids.snapshot()
        yield from self._states.values()

    def finish_recovery(self) -> None:
        """Complete what was decided before the crash. A transaction that was merely open stays open: its producer may
        still be there."""
        now_ms = self._clock.now_ms()
        for transactional_id in sorted(self._open):
            if self._states[transactional_id].status is not TransactionStatus.ONGOING:
                log.info("completing prepared transaction", transactional_id=transactional_id)
                self._complete(transactional_id, now_ms)

    def tick(self, now_ms: int) -> None:
        """Abort what is past its timeout; forget ids that are past their expiration."""
        due = list(self._open)
        if now_ms >= self._next_expiry_check_ms:
            due = list(self._states)
            self._next_expiry_check_ms = now_ms + EXPIRY_CHECK_INTERVAL_MS
        for transactional_id in due:
            try:
                self._time_out(transactional_id, now_ms)
            except OSError as failure:
                _not_written(failure)

    def _time_out(self, transactional_id: str, now_ms: int) -> None:
        state = self._states[transactional_id]
        decision = machine.decide(state, machine.TimeOut(EXPIRATION_MS), now_ms)
        if decision.record is not None:
            log.info("transaction timeout", transactional_id=transactional_id, status=decision.record.status.value)
            self._write(decision.record)
        if decision.then is not Then.REPLY:
            self._complete(transactional_id, now_ms)


def _not_written(failure: OSError) -> ErrorCode:
    """The answer when the journal or a partition cannot be written: retriable, and nothing unwritten is applied."""
    log.error("coordinator record not written", error=str(failure))
    return ErrorCode.coordinator_not_available
