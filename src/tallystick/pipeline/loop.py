"""One step's loop: a consumer, and the lanes that its messages go to, until it is told to stop.

Owns: ``StepLoop``. Must not know: processes, signals, how a batch is taken to its end.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final, Protocol

import structlog

from tallystick.clock import Clock, SystemClock
from tallystick.errors import FatalError, RetriableError
from tallystick.ids import TransactionalId
from tallystick.pipeline.assignment import Assignment
from tallystick.pipeline.batch import EventIds
from tallystick.pipeline.counters import Counters
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.inline import Inline
from tallystick.pipeline.kafka_client import Cluster, Follower, GroupConsumer, MemberFenced, Partition
from tallystick.pipeline.lanes import Lanes
from tallystick.pipeline.making import Making, Slot
from tallystick.pipeline.needed_topics import needed_topics
from tallystick.pipeline.observation import StepView
from tallystick.pipeline.observation.lag import lags
from tallystick.pipeline.patience import Patience, StopAsked
from tallystick.pipeline.plan import MAX_LANES, LoopPlan
from tallystick.pipeline.session import check_session
from tallystick.pipeline.settings import (
    CONSUMER_PROTOCOL,
    MAX_POLL_INTERVAL_MS,
    SESSION_TIMEOUT_MS,
    consumer_settings,
    producer_settings,
)
from tallystick.pipeline.starts import TopicFacts
from tallystick.pipeline.state import StatePlan, StepState, co_partitioned, state_topics
from tallystick.pipeline.work import WorkStopped
from tallystick.stopping import StopFlag

log = structlog.get_logger(__name__)

PATIENCE_MS: Final = 120_000
"""How long a worker waits for a cluster that is away before it gives up; below ``max.poll.interval.ms``."""

_LOOK_AT_SLOT_S: Final = 0.5
_SESSION_ENDS_LATE_MS: Final = 2_000

_ADMIN_SETTINGS: Final = ("bootstrap.servers", "security.", "sasl.", "ssl.", "client.id")


class Delivery(Protocol):
    """What becomes of polled messages; called in the polling thread."""

    @property
    def counters(self) -> list[Counters]:
        """Each thread's own."""
        ...

    @property
    def waiting(self) -> frozenset[Partition]:
        """Partitions whose polled messages may be in no batch yet; may be read in any thread."""
        ...

    def start(self) -> None:
        """Before the consumer subscribes: nothing of an earlier incarnation may be left open (rule 5)."""
        ...

    def changed(self, how: str) -> None:
        """The assignment was "assigned", is "revoking", was "revoked" or "lost"; called inside ``poll``."""
        ...

    def turn(self) -> None:
        """Poll once, and deliver. Raises what stops the worker."""
        ...

    def close(self) -> None: ...


class StepLoop:
    """Runs a plan: polls in the calling thread, where user code runs too unless the plan has several lanes."""

    def __init__(self, plan: LoopPlan, *, stop: threading.Event | None = None, clock: Clock | None = None) -> None:
        self._plan = plan
        own = f"tallystick-{os.getpid()}-{secrets.token_hex(4)}"
        self._client_id = own if "client.id" not in plan.consumer else None
        self._consumer_settings = consumer_settings({"client.id": own, **plan.consumer}, guarantee=plan.guarantee)
        self._producer_settings = producer_settings(plan.producer, self._consumer_settings, guarantee=plan.guarantee)
        self._stop = stop or StopFlag()
        self._clock = clock or SystemClock()
        self._own_counters = Counters()
        self._delivery: Delivery | None = None
        self._state: StepState | None = None
        self._assignment: Assignment | None = None
        self._turn_ms = self._clock.monotonic_ms()

    @property
    def step(self) -> str:
        return self._plan.step

    @property
    def counters(self) -> Counters:
        """What the loop did so far."""
        return Counters.total([self._own_counters] if self._delivery is None else self._delivery.counters)

    def view(self) -> StepView:
        """What the loop shows of itself, as of now. May be called from any thread."""
        counters, assignment = self.counters, self._assignment
        owned = frozenset() if assignment is None else assignment.owned
        known = {} if assignment is None else assignment.consumer.fetched
        waiting = frozenset() if self._delivery is None else self._delivery.waiting
        return StepView.of(
            self._plan.step,
            counters,
            now_ms=self._clock.monotonic_ms(),
            turn_ms=self._turn_ms,
            turn_limit_ms=int(self._consumer_settings.get("max.poll.interval.ms", MAX_POLL_INTERVAL_MS)),
            lag=lags(owned, known, taken=counters.taken, committed=counters.positions, waiting=waiting),
            restoring=None if self._state is None else self._state.restoring,
        )

    def stop(self) -> None:
        """Ask the loop to finish its open batches and return. May be called from any thread."""
        self._stop.set()

    def run(self, on_turn: Callable[[], None] = lambda: None) -> None:
        """Until ``stop``. ``on_turn`` is called after each poll.

        Raises ``FencedError``, ``FatalError``, ``ConfigurationError``, or ``StoppedByPolicy``. A stop while the
        cluster is away is no failure: a transaction that is open then is aborted by the next start, or by its timeout.
        """
        try:
            with ExitStack() as closing:
                self._run(closing, on_turn)
        except WorkStopped as stopped:
            raise stopped.cause from stopped
        except MemberFenced as fenced:
            raise self._by_whom(fenced) from fenced
        except StopAsked as stopped:
            log.warning("stopped while the cluster was away", step=self._plan.step, what=str(stopped))
        finally:
            log.info("step ends", step=self._plan.step, **self.counters.snapshot())

    def _run(self, closing: ExitStack, on_turn: Callable[[], None]) -> None:
        plan, group = self._plan, str(self._consumer_settings["group.id"])
        making = self._making()
        cluster_id = making.patience.call("cluster", making.cluster.cluster_id)
        if plan.guarantee is Guarantee.EXACTLY_ONCE and self._consumer_settings["group.protocol"] == CONSUMER_PROTOCOL:
            check_session(group, making.transaction_timeout_ms, making.cluster, making.patience)
        facts = needed_topics(plan, making.cluster, making.patience)
        if plan.state is not None:
            state = self._state = self._step_state(plan.state, making, cluster_id, facts)
            closing.callback(state.close)
            making = replace(making, state=state)
        ids = EventIds(cluster_id, {name: facts[name].topic_id for name in plan.sources})
        assignment = Assignment(
            group=group,
            cluster=making.cluster,
            sources=plan.sources,
            patience=making.patience,
            counters=self._own_counters,
            lanes=plan.lanes,
        )
        delivery = (Inline if plan.lanes == 1 else Lanes)(making, assignment, ids, self._own_counters)
        closing.callback(delivery.close)
        self._delivery = delivery
        consumer = GroupConsumer(self._consumer_settings, assignment, begin_paused=plan.state is not None)
        closing.callback(consumer.close)
        assignment.attach(consumer, delivery.changed)
        self._assignment = assignment
        log.info("step starts", step=plan.step, group=group, guarantee=plan.guarantee.value, lanes=plan.lanes)
        delivery.start()
        if plan.guarantee is Guarantee.EXACTLY_ONCE:
            making.settle(range(plan.lanes, min(assignment.lanes_so_far(facts), MAX_LANES)))
        consumer.subscribe(plan.sources)
        while not self._stop.is_set():
            self._turn_ms = self._clock.monotonic_ms()
            delivery.turn()
            on_turn()

    def _step_state(
        self, state: StatePlan, making: Making, cluster_id: str, facts: Mapping[str, TopicFacts]
    ) -> StepState:
        plan, group = self._plan, str(self._consumer_settings["group.id"])
        slot = str(self._consumer_settings.get("group.instance.id") or self._slot_in_transactional_id())
        partitions = co_partitioned(plan.step, {name: facts[name] for name in plan.sources})
        return StepState(
            step=plan.step,
            sources=plan.sources,
            partitions=partitions,
            changelogs=state_topics(group, state.stores, partitions, making.cluster, making.patience),
            folder=None if state.folder is None else state.folder / group / slot,
            cluster_id=cluster_id,
            cluster=making.cluster,
            patience=making.patience,
            make_follower=lambda: Follower(_admin_settings(self._consumer_settings)),
        )

    def _slot_in_transactional_id(self) -> str:
        """A dynamic member's; state comes with exactly-once, and with ids as workers have them."""
        return TransactionalId.parse(str(self._producer_settings["transactional.id"])).slot

    def _by_whom(self, fenced: MemberFenced) -> Exception:
        """By another worker; or by a member that is gone: then a new process goes on, and there is nobody to stop for.

        It takes up to a session to tell them apart; nothing is read or written meanwhile.
        """
        making = self._making()
        session_ms = int(self._consumer_settings.get("session.timeout.ms", SESSION_TIMEOUT_MS))
        deadline_ms = self._clock.monotonic_ms() + session_ms + _SESSION_ENDS_LATE_MS
        while self._clock.monotonic_ms() < deadline_ms:
            try:
                slot = making.slot_now()
            except RetriableError as error:
                log.info("who has the slot is not known yet", step=self._plan.step, error=str(error))
                slot = Slot.UNCLEAR
            if slot is Slot.VACANT:
                return FatalError(f"{fenced}: by a member that is gone, such as a join of ours whose answer was lost")
            if slot is Slot.ANOTHERS or self._stop.wait(_LOOK_AT_SLOT_S):
                break
        return fenced

    def _making(self) -> Making:
        return Making(
            plan=self._plan,
            consumer_settings=self._consumer_settings,
            producer_settings=self._producer_settings,
            cluster=Cluster(_admin_settings(self._consumer_settings)),
            clock=self._clock,
            patience=Patience(self._clock, self._stop, PATIENCE_MS),
            client_id=self._client_id,
        )


def _admin_settings(consumer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in consumer.items() if name.startswith(_ADMIN_SETTINGS)}
