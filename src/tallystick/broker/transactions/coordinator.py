"""Drives the transaction state machines: append, apply, then do what was decided.

Owns: the states of all transactional ids, and completing a prepared transaction (markers into every partition, offsets
in every group). Must not know: the protocol's encoding, how partitions and journals store.

Everything runs to the end within one call: when EndTxn or InitProducerId is answered, markers and offsets are in
place, so that the next transaction never meets CONCURRENT_TRANSACTIONS (rule 20).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from tallystick.broker.ports import Journal, JournalRecord, PartitionWriter
from tallystick.broker.transactions import machine, requests
from tallystick.broker.transactions.adoption import Decisions, OpenTransaction
from tallystick.broker.transactions.completion import Completion, PendingOffsets
from tallystick.broker.transactions.late_requests import Lane, LateRequests
from tallystick.broker.transactions.producer_ids import ProducerIds
from tallystick.broker.transactions.records import (
    EPOCH_RISES_AT_END,
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    ProducerIdsReserved,
    TransactionState,
    TransactionStatus,
)
from tallystick.broker.transactions.requests import Then, check_owner
from tallystick.broker.transactions.settings import DEFAULTS, TransactionSettings
from tallystick.broker.transactions.verification import verify
from tallystick.clock import Clock
from tallystick.errors import IllegalTransition
from tallystick.wire.errors import ErrorCode

log = structlog.get_logger(__name__)

MAX_TRANSACTIONAL_IDS: Final = 200_000
"""More than one machine's producers ever are: past it, something makes up ids (rule 5)."""

MAX_ROUNDS: Final = 3
"""A request is decided anew at most after completing a transaction once; one more is a bug."""

OPEN: Final = frozenset(
    {
        TransactionStatus.ONGOING,
        TransactionStatus.PREPARE_COMMIT,
        TransactionStatus.PREPARE_ABORT,
        TransactionStatus.PREPARE_EPOCH_FENCE,
    }
)


@dataclass(frozen=True, slots=True)
class Producer:
    """The answer to InitProducerId and EndTxn: who the producer is from now on; -1 with an error."""

    error: ErrorCode
    producer_id: int = NO_PRODUCER_ID
    producer_epoch: int = NO_PRODUCER_EPOCH


class TransactionCoordinator:
    """Who owns each transactional id, and the one place where transactions end."""

    def __init__(
        self,
        journal: Journal,
        partitions: PartitionWriter,
        clock: Clock,
        groups: PendingOffsets,
        settings: TransactionSettings = DEFAULTS,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._settings = settings
        self._completion = Completion(partitions, groups)
        self._states: dict[str, TransactionState] = {}
        self._open: set[str] = set()
        self._producer_ids = ProducerIds(journal)
        self._late = LateRequests()
        self._decisions = Decisions()
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
            if not 0 < timeout_ms <= self._settings.transaction_max_timeout_ms:
                return Producer(ErrorCode.invalid_transaction_timeout)
            request = requests.InitProducerId(
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
        self._late.begin(transactional_id, connection_id)
        return self._owner(transactional_id)

    def _owner(self, transactional_id: str) -> Producer:
        state = self._states[transactional_id]
        return Producer(ErrorCode.none, state.producer_id, state.producer_epoch)

    def add_partitions(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        partitions: Iterable[tuple[str, int]],
        *,
        transaction_version: int = 0,
        connection_id: int | None = None,
    ) -> ErrorCode:
        """AddPartitionsToTxn, or in version 2 the write itself; all or nothing. The partitions exist."""
        request = requests.AddToTransaction(
            producer_id, producer_epoch, partitions=tuple(partitions), transaction_version=transaction_version
        )
        return self._execute_owned(transactional_id, request, connection_id)

    def add_group(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        group_id: str,
        *,
        transaction_version: int = 0,
        connection_id: int | None = None,
    ) -> ErrorCode:
        """AddOffsetsToTxn, or in version 2 TxnOffsetCommit itself."""
        request = requests.AddToTransaction(
            producer_id, producer_epoch, groups=(group_id,), transaction_version=transaction_version
        )
        return self._execute_owned(transactional_id, request, connection_id)

    def end(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        *,
        commit: bool,
        transaction_version: int = 0,
        connection_id: int | None = None,
    ) -> Producer:
        """EndTxn. Without an error every marker and every offset is in place; asking again answers the same.

        The producer in the answer is the caller from now on: in version 2 with the next epoch.
        """
        kind: type[requests.Commit | requests.Abort] = requests.Commit if commit else requests.Abort
        try:
            fresh_producer_id = self._fresh_producer_id(self._states.get(transactional_id))
        except OSError as failure:
            return Producer(_not_written(failure))
        request = kind(producer_id, producer_epoch, transaction_version, fresh_producer_id)
        error = self._execute_owned(transactional_id, request, connection_id)
        return self._owner(transactional_id) if error is ErrorCode.none else Producer(error)

    def _fresh_producer_id(self, state: TransactionState | None) -> int:
        """A producer id for the one that may be exhausted now; ``OSError`` if none can be reserved."""
        return self._producer_ids.peek() if state is not None and state.is_exhausted else NO_PRODUCER_ID

    # --- may it write? ------------------------------------------------------------------------------------------------

    def verify_partition(
        self, transactional_id: str, producer_id: int, producer_epoch: int, topic: str, partition: int
    ) -> ErrorCode:
        """``none`` if the open transaction of this producer has the partition; TRANSACTION_ABORTABLE if it lacks it."""
        if not transactional_id:
            return ErrorCode.invalid_request
        state = self._states.get(transactional_id)
        return verify(state, producer_id, producer_epoch, partition=(topic, partition))

    def verify_group(self, transactional_id: str, producer_id: int, producer_epoch: int, group_id: str) -> ErrorCode:
        """The same for a group's offsets."""
        if not transactional_id:
            return ErrorCode.invalid_request
        return verify(self._states.get(transactional_id), producer_id, producer_epoch, group_id=group_id)

    def admit_offsets(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        group_id: str,
        *,
        transaction_version: int,
        connection_id: int | None = None,
    ) -> ErrorCode:
        """Whether TxnOffsetCommit may write: the group is in the open transaction, or joins it in version 2."""
        owner = (transactional_id, producer_id, producer_epoch)
        if transaction_version >= EPOCH_RISES_AT_END:
            error = self.add_group(*owner, group_id, transaction_version=transaction_version)
        else:
            error = self.verify_group(*owner, group_id)
        if error is ErrorCode.none and self._late.is_late(transactional_id, Lane.OFFSETS, connection_id):
            log.warning("offsets on a superseded connection refused", transactional_id=transactional_id)
            return ErrorCode.producer_fenced
        return error

    def transactions(self) -> tuple[TransactionState, ...]:
        """Every known transactional id, in no order."""
        return tuple(self._states.values())

    def transaction(self, transactional_id: str) -> TransactionState | None:
        return self._states.get(transactional_id)

    # --- driving ------------------------------------------------------------------------------------------------------

    def _execute_owned(
        self,
        transactional_id: str,
        request: requests.AddToTransaction | requests.Commit | requests.Abort,
        connection_id: int | None,
    ) -> ErrorCode:
        if not transactional_id:
            return ErrorCode.invalid_request
        state = self._states.get(transactional_id)
        if (
            state is not None
            and request.transaction_version < EPOCH_RISES_AT_END
            and check_owner(state, request.producer_id, request.producer_epoch) is ErrorCode.none
            and self._late.is_late(transactional_id, Lane.COORDINATOR, connection_id)
        ):
            log.warning("request on a superseded connection refused", transactional_id=transactional_id)
            return ErrorCode.producer_fenced
        try:
            return self._execute(transactional_id, request)
        except OSError as failure:
            return _not_written(failure)

    def _execute(self, transactional_id: str, request: requests.Request) -> ErrorCode:
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
        try:
            self._apply(record)
        except BaseException:
            self._journal.take_back()
            raise

    def _apply(self, record: TransactionState) -> None:
        self._producer_ids.note_used(max(record.producer_id, record.next_producer_id))
        machine.apply(self._states, record)
        if record.status in OPEN:
            self._open.add(record.transactional_id)
        else:
            self._open.discard(record.transactional_id)
        if record.status is TransactionStatus.DEAD:
            self._late.forget(record.transactional_id)

    def _complete(self, transactional_id: str, now_ms: int) -> None:
        """Carry a fenced or prepared transaction to its end. ``OSError``: it stays prepared, and may be asked again."""
        state = self._states[transactional_id]
        if state.status is TransactionStatus.PREPARE_EPOCH_FENCE:
            self._decide_and_write(state, requests.AbortFenced(), now_ms)
            state = self._states[transactional_id]
        self._completion.carry_out(state, now_ms)
        self._decide_and_write(state, requests.MarkersWritten(), now_ms)

    def _decide_and_write(self, state: TransactionState, request: requests.Request, now_ms: int) -> None:
        record = machine.decide(state, request, now_ms).record
        if record is not None:
            self._write(record)

    # --- what the server asks -----------------------------------------------------------------------------------------

    def replay(self, record: JournalRecord) -> None:
        if isinstance(record, TransactionState):
            self._decisions.note(record)
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
            state = self._states[transactional_id]
            if state.status is not TransactionStatus.ONGOING:
                log.info(
                    "completing prepared transaction",
                    transactional_id=transactional_id,
                    status=state.status.value,
                    client_transaction_version=state.client_transaction_version,
                )
                self._complete(transactional_id, now_ms)

    def adopt(self, found: Iterable[OpenTransaction], *, highest_producer_id: int) -> None:
        """Settle what the logs have and the journal lacks, after ``finish_recovery``. ``highest_producer_id`` is the
        highest in any log, lest one that the journal has lost is given out again."""
        self._producer_ids.note_used(highest_producer_id)
        adoption = self._completion.adoption(self._execute, self._clock.now_ms())
        adoption.settle(found, self.transactions(), self._decisions)
        self._decisions = Decisions()

    def tick(self, now_ms: int) -> None:
        """Abort what is past its timeout; forget ids that are past their expiration."""
        due = list(self._open)
        if now_ms >= self._next_expiry_check_ms:
            due = list(self._states)
            self._next_expiry_check_ms = (
                now_ms + self._settings.transaction_remove_expired_transaction_cleanup_interval_ms
            )
        for transactional_id in due:
            try:
                self._time_out(transactional_id, now_ms)
            except OSError as failure:
                _not_written(failure)

    def _time_out(self, transactional_id: str, now_ms: int) -> None:
        state = self._states[transactional_id]
        request = requests.TimeOut(self._settings.transactional_id_expiration_ms, self._fresh_producer_id(state))
        decision = machine.decide(state, request, now_ms)
        if decision.record is not None:
            log.info("transaction timeout", transactional_id=transactional_id, status=decision.record.status.value)
            self._write(decision.record)
        if decision.then is not Then.REPLY:
            self._complete(transactional_id, now_ms)


def _not_written(failure: OSError) -> ErrorCode:
    """The answer when the journal or a partition cannot be written: retriable, and nothing unwritten is applied."""
    log.error("coordinator record not written", error=str(failure))
    return ErrorCode.coordinator_not_available
