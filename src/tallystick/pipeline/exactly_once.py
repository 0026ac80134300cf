"""Exactly-once: outputs and offsets in one Kafka transaction, driven by the pure cycle.

Owns: the driver that does what ``cycle`` decides, and turns what happened back into its events. Must not know: how
errors are recognised (``error_classes``), what the step does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from tallystick.errors import (
    AbortableError,
    AmbiguousOutcome,
    ConfigurationError,
    FatalError,
    FencedError,
    IllegalTransition,
    RetriableError,
)
from tallystick.killpoints import reach
from tallystick.pipeline import places
from tallystick.pipeline.batch import Batch
from tallystick.pipeline.cycle import FINAL_PHASES, OPEN_PHASES, STOPPABLE_PHASES, Action, Cycle, Event, Phase
from tallystick.pipeline.kafka_client import MemberFenced, Membership, OutputRefused, Producer
from tallystick.pipeline.patience import GaveUp, StopAsked
from tallystick.pipeline.records import Output
from tallystick.pipeline.strategy import Parts
from tallystick.pipeline.work import WorkFailed, WorkPostponed, WorkStopped

log = structlog.get_logger(__name__)

_RETRIES_IN_TRANSACTION: Final = 5
_UNBLAMED_ABORTS_IN_A_ROW: Final = 100
_PRODUCERS_IN_A_ROW: Final = 10
_DEADLINES_IN_A_ROW: Final = 4
"""Each of them takes the transaction's whole time."""
_MEMBERSHIP_EVENTS: Final = {
    "assigned": Event.ASSIGNED,
    "revoking": Event.REVOKING,
    "revoked": Event.REVOKED,
    "lost": Event.LOST,
}


class ExactlyOnce:
    """One lane: one transactional producer, one open transaction at a time.

    In the polling thread a transaction lives between two polls. Rebalances are served inside ``poll`` only, so a
    revocation waits for the open transaction's end, which ``transaction.timeout.ms`` bounds (rule 4). In a thread of
    its own the lane hears of a rebalance between two actions, and whoever polls waits for it (``lanes``). What the
    group does in the meantime shows as a membership that differs from the assignment's; then the transaction aborts
    (rules 1 and 2).
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._cycle = Cycle()
        self._producer: Producer | None = None
        self._batch: Batch | None = None
        self._outputs: Sequence[Output] = ()
        self._dead_letters = 0
        self._membership: Membership | None = None
        self._deadline_ms = 0
        self._began_s = 0.0
        self._aborts_in_a_row = 0
        self._producers_in_a_row = 0
        self._retries = 0
        self._state_unsure = False
        """A transaction's end was not known: whether it changed the state stands in the changelog."""
        self._performers: dict[Action, Callable[[], None]] = {
            Action.REINITIALISE: self._reinitialise,
            Action.REWIND: self._rewind,
            Action.BEGIN: self._begin,
            Action.PROCESS: self._process,
            Action.PRODUCE: self._produce,
            Action.SEND_OFFSETS: self._send_offsets,
            Action.COMMIT: self._commit,
            Action.ABORT: self._abort,
        }

    @property
    def cycle(self) -> Cycle:
        """Where the cycle is."""
        return self._cycle

    def start(self) -> None:
        self._run_until_idle()

    def changed(self, how: str) -> None:
        if self._cycle.phase in FINAL_PHASES:
            return  # the consumer of a worker that is at its end still gives its partitions back
        was_open = self._cycle.phase in OPEN_PHASES
        self._to(_MEMBERSHIP_EVENTS[how])
        if was_open and self._cycle.phase is Phase.DOOMED:
            self._count_abort("assignment", f"partitions were {how} while the transaction was open")
        self._parts.work.assignment_changed()

    def hear(self, news: Iterable[str]) -> None:
        """Changes of the assignment that happened while the lane was busy elsewhere."""
        for how in news:
            self.changed(how)

    def deliver(self, batch: Batch) -> None:
        self._batch = batch
        self._to(Event.POLLED)
        reach(places.AFTER_POLL)
        self._run_until_idle()

    def idle(self) -> None:
        if self._producer is not None:
            self._producer.poll()

    def close(self) -> None:
        if self._cycle.phase in STOPPABLE_PHASES:  # not so while an error that nobody expected is on its way up
            self._to(Event.STOPPED)
        self._discard_producer()

    # -- the driver

    def _to(self, event: Event) -> None:
        self._cycle = self._cycle.after(event)

    def _run_until_idle(self) -> None:
        while True:
            self.hear(self._parts.positions.news())
            action = self._cycle.action
            if action in {Action.POLL, Action.WAIT, Action.STOP}:
                return
            self._perform(action)

    def _perform(self, action: Action) -> None:
        try:
            self._performers[action]()
            self._retries = 0
        except GaveUp:
            self._discard_producer()
            raise
        except WorkFailed as failure:
            self._fail("step-failed", failure)
        except OutputRefused as error:
            self._output_refused(error)
        except WorkPostponed as failure:
            self._fail("step-postponed", failure)
            self._pause_after_blameless_abort(failure)
        except WorkStopped as failure:
            self._abort_and_raise(failure)
        except RetriableError as error:
            self._again(action, error)
        except AbortableError as error:
            self._abortable(action, error)
        except FencedError as error:
            self._fenced(error)
        except AmbiguousOutcome as error:
            self._lose_producer("ambiguous", error)
        except FatalError as error:
            self._lose_producer("fatal", error)
        except ConfigurationError as error:
            self._misconfigured(error)

    def _output_refused(self, error: OutputRefused) -> None:
        try:
            self._parts.work.output_refused(self._current_batch(), error)
        except WorkStopped as failure:
            self._abort_and_raise(failure)
        self._fail("output-refused", error)

    def _misconfigured(self, error: ConfigurationError) -> None:
        """It would fail again in the same way: end what is open, and stop."""
        if self._cycle.phase in OPEN_PHASES or self._cycle.phase is Phase.ENDING:
            self._fail("configuration", error)
            self._run_until_idle()
        raise error

    def _again(self, action: Action, error: RetriableError) -> None:
        """Retriable: the same call again, a few times; then it is abortable (rules 11 and 12)."""
        self._retries += 1
        self._parts.counters.retries[action.value] += 1
        if self._retries <= _RETRIES_IN_TRANSACTION:
            log.info("again", action=action.value, attempt=self._retries, error=str(error))
            if self._parts.patience.pause(self._retries):
                self._discard_producer()
                raise StopAsked(f"{action.value}: {error}") from error
            return
        self._retries = 0
        if action is Action.ABORT:
            self._lose_producer("abort-without-answer", error)
        else:
            self._fail("retries-exhausted", error)
            self._pause_after_blameless_abort(error)

    def _abortable(self, action: Action, error: AbortableError) -> None:
        if action is Action.ABORT:
            self._lose_producer("abort-refused", error)  # rule 12: or it loops
            return
        self._fail({Action.BEGIN: "assignment", Action.SEND_OFFSETS: "offsets"}.get(action, "producer"), error)
        self._pause_after_blameless_abort(error)

    def _fail(self, cause: str, error: BaseException) -> None:
        self._count_abort(cause, str(error))
        self._to(Event.FAILED)

    def _count_abort(self, cause: str, why: str) -> None:
        self._parts.counters.aborts[cause] += 1
        log.warning("abort", cause=cause, cycle=str(self._cycle), error=why)

    def _pause_after_blameless_abort(self, error: BaseException) -> None:
        """No record is to blame, so no dead letter ends this: a limit does (rule 18)."""
        self._aborts_in_a_row += 1
        if self._aborts_in_a_row >= _UNBLAMED_ABORTS_IN_A_ROW:
            self._give_up(
                f"{self._aborts_in_a_row} transactions in a row were aborted, the last because: {error}", error
            )
        self._parts.patience.pause(self._aborts_in_a_row)

    def _lose_producer(self, cause: str, error: BaseException | str) -> None:
        self._parts.counters.producers_discarded[cause] += 1
        log.warning("producer discarded", cause=cause, cycle=str(self._cycle), error=str(error))
        self._to(Event.PRODUCER_LOST)
        self._state_unsure = True
        self._discard_producer()
        self._producers_in_a_row += 1
        if self._producers_in_a_row > (_DEADLINES_IN_A_ROW if cause == "deadline" else _PRODUCERS_IN_A_ROW):
            cause_error = error if isinstance(error, BaseException) else None
            if cause == "deadline":
                self._discard_producer()
                raise self._too_little_time() from cause_error
            self._give_up(f"{self._producers_in_a_row} producers in a row were lost, the last: {error}", cause_error)
        self._parts.patience.pause(self._producers_in_a_row)

    def _too_little_time(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self._producers_in_a_row} transactions in a row took longer than "
            f"transaction.timeout.ms={self._parts.transaction_timeout_ms}",
            rule=4,
            remedy="Lower batch_records, raise transaction.timeout.ms (below session.timeout.ms), or speed up the step",
        )

    def _fenced(self, error: FencedError) -> None:
        """A newer owner exists, unless the coordinator only bumped the epoch when our own time ran out (rule 14)."""
        if self._cycle.transaction_epoch is not None and self._overdue():
            self._lose_producer("deadline", error)
            return
        self._to(Event.FENCED)
        self._discard_producer()
        raise error

    def _abort_and_raise(self, failure: WorkStopped) -> None:
        self._fail("step-stopped", failure)
        self._run_until_idle()
        raise failure

    def _give_up(self, why: str, error: BaseException | None) -> None:
        self._discard_producer()
        raise GaveUp(why) from error

    # -- the actions

    def _reinitialise(self) -> None:
        if self._cycle.epoch > 0:
            self._parts.patience.call("slot", self._prove_slot)
        producer = self._parts.make_producer()
        try:
            self._parts.patience.call("init_transactions", producer.init_transactions)
        except BaseException:
            producer.discard()
            raise
        self._producer = producer
        self._to(Event.PRODUCER_READY)

    def _prove_slot(self) -> None:
        """Initialising fences whoever holds the transactional id, so the slot must still be ours (rule 5)."""
        holder = self._parts.slot_holder()
        if holder is not None and not self._parts.positions.is_member(holder):
            raise MemberFenced(f"the slot is held by member {holder}")

    def _rewind(self) -> None:
        self._drop_batch()
        self._parts.positions.rewind()
        if self._state_unsure and self._parts.state is not None:
            self._parts.state.catch_up()
        self._state_unsure = False
        self._to(Event.REWOUND)

    def _begin(self) -> None:
        producer = self._live_producer()
        producer.poll()
        if producer.suspicion is not None:
            self._lose_producer("connection", producer.suspicion)
            return
        self._membership = self._parts.positions.current_membership()
        self._parts.positions.refresh_notes()
        producer.begin()
        self._began_s = time.perf_counter()
        now_ms = self._parts.clock.monotonic_ms()
        self._deadline_ms = now_ms + self._parts.transaction_timeout_ms
        self._parts.counters.open_since_ms = now_ms
        self._to(Event.BEGAN)
        reach(places.AFTER_BEGIN)

    def _process(self) -> None:
        self._outputs, self._dead_letters = self._parts.work.process(self._current_batch())
        self._to(Event.PROCESSED)
        reach(places.AFTER_PROCESS)

    def _produce(self) -> None:
        state = self._parts.state
        producer = self._live_producer()
        producer.produce(self._outputs)
        if state is not None:
            producer.produce(list(state.changes()))
        self._to(Event.PRODUCED)
        reach(places.AFTER_PRODUCE)

    def _send_offsets(self) -> None:
        if self._overdue():
            self._lose_producer("deadline", "the transaction's time ran out before its offsets were sent")
            return
        reach(places.BEFORE_OFFSETS)
        membership = self._parts.positions.current_membership()
        if membership != self._membership:
            raise AbortableError("the membership changed since the transaction began")
        self._live_producer().send_offsets(self._current_batch().positions, self._parts.positions.notes, membership)
        self._to(Event.OFFSETS_SENT)
        reach(places.AFTER_OFFSETS)

    def _commit(self) -> None:
        producer = self._live_producer()
        producer.poll()
        producer.raise_if_poisoned()
        remaining_ms = self._deadline_ms - self._parts.clock.monotonic_ms()
        if remaining_ms <= 0:
            self._lose_producer("deadline", "the transaction's time ran out before its end was asked for")
            return
        reach(places.BEFORE_COMMIT)
        self._to(Event.END_REQUESTED)
        asked_s = time.perf_counter()
        producer.commit(remaining_ms)
        self._committed(asked_s)
        reach(places.AFTER_COMMIT)
        if producer.suspicion is not None:
            # The success may be that of a retry, and the first EndTxn still under way: it must not meet the next
            # transaction of this producer epoch (rule 15).
            self._lose_producer("connection", producer.suspicion)

    def _committed(self, asked_s: float) -> None:
        self._to(Event.COMMITTED)
        if self._parts.state is not None:
            self._parts.state.commit(self._live_producer().delivered)
            self._parts.counters.late_events = self._parts.state.late
            self._parts.counters.duplicates = self._parts.state.duplicates
        batch, counters = self._current_batch(), self._parts.counters
        now_s = time.perf_counter()
        counters.commits_took.observe(now_s - asked_s)
        counters.batches_took.observe(now_s - self._began_s)
        counters.positions.update(batch.positions)
        self._parts.work.finished(batch)
        counters.commits += 1
        counters.records_in += len(batch.records)
        counters.records_out += len(self._outputs)
        counters.dead_letters += self._dead_letters
        self._aborts_in_a_row = self._producers_in_a_row = 0
        self._drop_batch()

    def _abort(self) -> None:
        self._live_producer().abort(self._parts.transaction_timeout_ms)
        self._to(Event.ABORTED)

    # -- small things

    def _overdue(self) -> bool:
        return self._parts.clock.monotonic_ms() >= self._deadline_ms

    def _drop_batch(self) -> None:
        self._batch, self._outputs, self._dead_letters, self._membership = None, (), 0, None
        if self._parts.state is not None:
            self._parts.state.drop()
        self._parts.counters.open_since_ms = None

    def _current_batch(self) -> Batch:
        if self._batch is None:
            raise IllegalTransition("exactly-once driver", str(self._cycle), "use of a batch that is not there")
        return self._batch

    def _live_producer(self) -> Producer:
        if self._producer is None:
            raise IllegalTransition("exactly-once driver", str(self._cycle), "use of a producer that is not there")
        return self._producer

    def _discard_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.discard()
