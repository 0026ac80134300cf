"""One lane: a thread that takes its partitions' messages through one transaction after another.

Owns: ``Lane`` and ``LanePositions``. Must not know: who polls, other lanes.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from tallystick.errors import AbortableError, IllegalTransition, RetriableError
from tallystick.pipeline.assignment import Assignment
from tallystick.pipeline.batch import EventIds
from tallystick.pipeline.counters import Counters
from tallystick.pipeline.cycle import FINAL_PHASES, Phase
from tallystick.pipeline.errands import Errands, When
from tallystick.pipeline.exactly_once import ExactlyOnce
from tallystick.pipeline.intake import Doorbell, Intake
from tallystick.pipeline.kafka_client import Membership, Partition
from tallystick.pipeline.making import Making
from tallystick.pipeline.replays import Replays
from tallystick.pipeline.state import LaneState
from tallystick.pipeline.work import BatchWork

log = structlog.get_logger(__name__)

_LOOK_TIMEOUT_S: Final = 5.0
_DRAINED_PHASES: Final = FINAL_PHASES | {Phase.REWINDING}
"""No transaction is open, and none begins before the lane has heard the news."""


class LanePositions:
    """Answers a lane: from what the polling thread last said, or by asking it."""

    def __init__(self, assignment: Assignment, intake: Intake, errands: Errands, rewind: Callable[[], None]) -> None:
        self._assignment = assignment
        self._intake = intake
        self._errands = errands
        self._rewind = rewind

    @property
    def notes(self) -> Mapping[str, str]:
        return self._assignment.notes

    def current_membership(self) -> Membership:
        """That of the assignment, as the polling thread saw it: if the group moved on since, its coordinator says so.

        It is never fetched anew. A membership fetched after a rejoin would let a transaction of the assignment before
        pass (rule 1).
        """
        membership = self._assignment.membership
        if membership is None or not membership.is_fencing:
            raise AbortableError("a rebalance is under way")
        return membership

    def is_member(self, member_id: str) -> bool:
        if self._assignment.member_id == member_id:
            return True
        if not self._errands.ask(self._look, When.ANY_TIME, timeout_s=_LOOK_TIMEOUT_S):
            raise RetriableError("the polling thread could not say who we are: it is inside a rebalance")
        return self._assignment.member_id == member_id

    def refresh_notes(self) -> None:
        """The polling thread does."""

    def rewind(self) -> None:
        self._errands.ask(self._rewind, When.BETWEEN_POLLS)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        raise IllegalTransition("lane", "exactly-once", f"a commit of {dict(offsets)} outside its transaction")

    def news(self) -> tuple[str, ...]:
        return self._intake.news()

    def _look(self) -> None:
        self._assignment.look()


class Lane:
    """Everything in it runs in its thread, user code too, except what says otherwise."""

    def __init__(
        self,
        number: int,
        *,
        making: Making,
        ids: EventIds,
        positions: LanePositions,
        intake: Intake,
        doorbell: Doorbell,
    ) -> None:
        self.number = number
        self.intake = intake
        self.counters = Counters()
        self.raised: BaseException | None = None
        self.is_started = False
        """Whether nothing of a predecessor is left open under its id."""
        self.busy_since_ms: int | None = None
        """When it took the batch that it works on; monotonic."""
        self._making = making
        self._ids = ids
        self._positions = positions
        self._doorbell = doorbell
        self._strategy: ExactlyOnce | None = None
        context = contextvars.copy_context()  # so that its log lines name slot and pid
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name=f"{making.plan.step}-lane-{number}", daemon=True
        )

    # -- from the polling thread

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Whether the thread has ended, at the latest after ``timeout_s``."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return self.has_ended

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    @property
    def is_drained(self) -> bool:
        """Whether no transaction is open, and none begins before the revocation that waits is over.

        An idle lane may have a batch in its hands already, unless it knows of the revocation. One that rewinds does
        not know of it: it waits for the polling thread.
        """
        if self.has_ended or self._strategy is None:
            return True
        cycle = self._strategy.cycle  # a frozen value
        return cycle.phase in _DRAINED_PHASES or (cycle.phase is Phase.IDLE and cycle.draining)

    # -- in the thread

    def _run(self) -> None:
        structlog.contextvars.bind_contextvars(lane=self.number)
        try:
            state = self._making.lane_state(self.number)
            work = self._making.work(state)
            try:
                self._do(work, state)
            finally:
                work.close()
        except BaseException as error:  # noqa: BLE001  # the thread's edge: kept, and raised by the polling thread
            self.raised = error
        finally:
            self._doorbell.ring()

    def _do(self, work: BatchWork, state: LaneState | None) -> None:
        strategy = ExactlyOnce(self._making.parts(self.number, self._positions, work, self.counters, state))
        self._strategy = strategy
        try:
            strategy.start()
            self.is_started = True
            self._doorbell.ring()
            self._take_and_deliver(strategy, work)
        finally:
            strategy.close()

    def _take_and_deliver(self, strategy: ExactlyOnce, work: BatchWork) -> None:
        pace, clock, replays = self._making.plan.pace(), self._making.clock, Replays()
        while not self.intake.is_closed:
            isolating = work.failures.isolating
            taken = self.intake.take(1 if isolating else pace.records, pace.wait_ms / 1000)
            if taken.messages:
                began_ms = self.busy_since_ms = clock.monotonic_ms()
                batch = self._ids.batch(taken.messages)
                self.counters.records_replayed += replays.count(batch.runs)
                self.counters.taken.update(batch.positions)
                strategy.deliver(batch)
                self.busy_since_ms = None
                if not isolating:
                    pace = pace.after(records=len(taken.messages), took_ms=clock.monotonic_ms() - began_ms)
            else:
                strategy.idle()
            if taken.news:
                strategy.hear(taken.news)
            if strategy.cycle.draining:
                self._doorbell.ring()
