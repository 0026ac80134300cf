"""A step with lanes: one thread polls and hands messages out, each lane commits its own transactions.

Owns: which partition goes to which lane, back-pressure, draining before a revocation, and the end when one lane fails.
Must not know: what a lane does with its messages.

All methods run in the polling thread. A rebalance is served inside ``poll``, so that a revocation waits there for the
lanes, while they go on in their threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Final

import structlog

from tallystick.errors import FatalError
from tallystick.ids import lane_of
from tallystick.pipeline.assignment import Assignment
from tallystick.pipeline.batch import EventIds
from tallystick.pipeline.counters import Counters
from tallystick.pipeline.errands import Errands, When
from tallystick.pipeline.intake import Doorbell, Intake
from tallystick.pipeline.kafka_client import Partition
from tallystick.pipeline.lane import Lane, LanePositions
from tallystick.pipeline.making import Making
from tallystick.pipeline.polled import Message, edges
from tallystick.pipeline.settings import MAX_POLL_INTERVAL_MS

log = structlog.get_logger(__name__)

_POLL_RECORDS: Final = 10_000
_POLL_WAIT_MS: Final = 25
_LOOK_S: Final = 0.05


class Lanes:
    """The lanes of one step in one worker."""

    def __init__(self, making: Making, assignment: Assignment, ids: EventIds, counters: Counters) -> None:
        self._making = making
        self._assignment = assignment
        self._counters = counters
        self._doorbell = Doorbell()
        self._errands = Errands(self._doorbell)
        self._lanes = [self._lane(number, ids) for number in range(making.plan.lanes)]
        self._fed: list[Lane] = []
        self._owned: frozenset[Partition] = frozenset()
        self._rewind_due = False
        self._left_paused: frozenset[Partition] = frozenset()
        """Given up while they were paused: librdkafka still has them as that when they come back."""
        self._paused: frozenset[Partition] = frozenset()
        self._busy_limit_ms = int(making.consumer_settings.get("max.poll.interval.ms", MAX_POLL_INTERVAL_MS))

    @property
    def counters(self) -> list[Counters]:
        return [self._counters, *(lane.counters for lane in self._lanes)]

    @property
    def waiting(self) -> frozenset[Partition]:
        busy = {lane.number for lane in self._lanes if lane.intake.count}
        return frozenset(one for one in self._owned if lane_of(one[1], len(self._lanes)) in busy)

    def start(self) -> None:
        """Until nothing of an earlier incarnation is left open under any lane's id."""
        for lane in self._lanes:
            lane.start()
        while not all(lane.is_started for lane in self._lanes):
            self._raise_failure()
            self._errands.serve(When.BETWEEN_POLLS)
            self._doorbell.wait(_LOOK_S)

    def changed(self, how: str) -> None:
        """Tell the lanes; a revocation goes on when all have drained, or when their transactions' time is over.

        What waits for them is dropped. So if partitions stay, as they do under a cooperative assignor, they are taken
        back to their committed offsets before the next poll.
        """
        owned = self._assignment.owned
        if how != "revoking":
            self._rewind_due = bool(owned and (self._rewind_due or owned & self._owned))
        self._owned = owned
        self._left_paused |= self._paused - owned
        self._paused &= owned
        self._fed = [lane for lane in self._lanes if any(self._owner(lane, one) for one in owned)]
        for lane in self._lanes:
            lane.intake.announce(how)
        if how == "revoking":
            self._drain()
        elif self._making.state is not None:
            self._making.state.changed(owned)
            self._paused |= self._making.state.held  # the consumer began them so

    def turn(self) -> None:
        self._release()
        self._after_rebalance()
        self._errands.serve(When.BETWEEN_POLLS)
        self._raise_failure()
        self._assignment.raise_if_sources_are_gone()
        self._assignment.refresh_notes()
        if self._assignment.consumer.epochs_move:
            self._assignment.follow()
        self._pause_and_resume()
        before = self._assignment.changes
        messages = self._poll()
        if not messages:
            return
        if self._assignment.changes != before:
            # Messages of before the rebalance and after it are in one list, and no lane has one of the latter yet.
            self._assignment.rewind()
            return
        self._hand_out(messages)

    def close(self) -> None:
        """Let each lane end its open transaction, and its thread."""
        self._errands.close()
        for lane in self._lanes:
            lane.intake.close()
        clock = self._making.clock
        deadline_ms = clock.monotonic_ms() + self._making.transaction_timeout_ms
        for lane in self._lanes:
            if not lane.join(max(0, deadline_ms - clock.monotonic_ms()) / 1000):
                log.error("lane does not end", step=self._making.plan.step, lane=lane.number)

    # -- polling

    def _poll(self) -> Sequence[Message]:
        """What is here, for lanes that need it; when none does, one message at the most, to serve the call-backs."""
        consumer = self._assignment.consumer
        if any(lane.intake.is_hungry for lane in self._fed) or not self._fed:
            return consumer.poll_available(_POLL_RECORDS, _POLL_WAIT_MS)
        self._doorbell.wait(_LOOK_S)
        return consumer.poll_available(1, 0)

    def _hand_out(self, messages: Sequence[Message]) -> None:
        lanes = self._lanes
        parcels: list[list[Message]] = [[] for _ in lanes]
        count = len(lanes)
        partitions = list(map(type(messages[0]).partition, messages))
        for start, end in pairwise(edges(partitions)):
            parcels[lane_of(partitions[start], count)] += messages[start:end]
        for lane, parcel in zip(lanes, parcels, strict=True):
            if parcel:
                lane.intake.put(parcel)

    def _release(self) -> None:
        """Partitions whose state is complete go on, unless their lane is full; that is for the others to say."""
        if self._making.state is not None:
            released = self._making.state.released()
            self._paused -= released
            self._assignment.consumer.resume(sorted(released))

    def _pause_and_resume(self) -> None:
        """A lane that is full while others need messages must not fill the memory."""
        paused = self._paused
        held = frozenset() if self._making.state is None else self._making.state.held
        for lane in self._fed:
            mine = {one for one in self._assignment.owned if self._owner(lane, one)}
            if lane.intake.is_full:
                paused |= mine
            elif lane.intake.is_low:
                paused -= mine - held
        if paused == self._paused:
            return
        log.debug("pause", step=self._making.plan.step, paused=sorted(paused))
        self._assignment.consumer.resume(sorted(self._paused - paused))
        self._assignment.consumer.pause(sorted(paused - self._paused))
        self._paused = paused

    # -- lanes

    def _lane(self, number: int, ids: EventIds) -> Lane:
        intake = Intake(batch_records=self._making.plan.batch_records, doorbell=self._doorbell)
        positions = LanePositions(self._assignment, intake, self._errands, partial(self._rewind, number))
        return Lane(number, making=self._making, ids=ids, positions=positions, intake=intake, doorbell=self._doorbell)

    def _owner(self, lane: Lane, partition: Partition) -> bool:
        return lane_of(partition[1], len(self._lanes)) == lane.number

    def _rewind(self, number: int) -> None:
        """For a lane whose transaction was aborted: its messages here are dropped with those that librdkafka has."""
        lane = self._lanes[number]
        lane.intake.drop()
        self._assignment.rewind(partial(self._owner, lane))

    def _after_rebalance(self) -> None:
        if back := self._left_paused & self._owned:
            self._left_paused -= back
            held = frozenset() if self._making.state is None else self._making.state.held
            self._assignment.consumer.resume(sorted(back - held))
        if self._rewind_due:
            self._rewind_due = False
            self._assignment.rewind()

    def _drain(self) -> None:
        clock = self._making.clock
        began_ms = clock.monotonic_ms()
        while open_lanes := [lane.number for lane in self._lanes if not lane.is_drained]:
            waited_ms = clock.monotonic_ms() - began_ms
            if waited_ms >= self._making.transaction_timeout_ms:
                log.warning("lanes not drained", step=self._making.plan.step, lanes=open_lanes, waited_ms=waited_ms)
                return
            self._errands.serve(When.ANY_TIME)
            self._doorbell.wait(_LOOK_S)

    def _raise_failure(self) -> None:
        now_ms = self._making.clock.monotonic_ms()
        for lane in self._lanes:
            if lane.raised is not None:
                raise lane.raised
            busy_since_ms = lane.busy_since_ms
            if busy_since_ms is not None and now_ms - busy_since_ms > self._busy_limit_ms:
                raise FatalError(
                    f"lane {lane.number} of step {self._making.plan.step!r} has been at one batch for longer than "
                    f"max.poll.interval.ms={self._busy_limit_ms}"
                )
