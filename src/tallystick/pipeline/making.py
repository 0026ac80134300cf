"""What each lane of a step works with, made from the plan.

Owns: ``Making``. Must not know: threads, who asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import structlog

from tallystick.clock import Clock
from tallystick.errors import ConfigurationError
from tallystick.pipeline.counters import Counters
from tallystick.pipeline.kafka_client import Cluster, Producer
from tallystick.pipeline.patience import Patience
from tallystick.pipeline.plan import LoopPlan
from tallystick.pipeline.positions import Positions
from tallystick.pipeline.settings import TRANSACTION_TIMEOUT_MS
from tallystick.pipeline.state import LaneState, StepState
from tallystick.pipeline.strategy import Parts
from tallystick.pipeline.tracing import Tracing
from tallystick.pipeline.work import BatchWork

log = structlog.get_logger(__name__)


class Slot(Enum):
    """Who has a slot."""

    VACANT = "vacant"
    ANOTHERS = "another's"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """The plan with its settings merged, and what its lanes share."""

    plan: LoopPlan
    consumer_settings: Mapping[str, Any]
    producer_settings: Mapping[str, Any]
    cluster: Cluster
    clock: Clock
    patience: Patience
    state: StepState | None = None
    client_id: str | None = None
    """The consumer's, if no other process can have the same."""

    @property
    def transaction_timeout_ms(self) -> int:
        return int(self.producer_settings.get("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS))

    def lane_state(self, lane: int) -> LaneState | None:
        """What a lane of a step with state works with."""
        return None if self.state is None else self.state.lane(lane, self.plan.lanes)

    def work(self, state: LaneState | None = None) -> BatchWork:
        """The step's processor with its policy; a lane's own."""
        plan = self.plan
        processor = plan.factory() if plan.state is None or state is None else plan.state.factory(state)
        return BatchWork(
            processor,
            step=plan.step,
            policy=plan.policy,
            dead_letter_topic=plan.dead_letter_topic,
            tracing=Tracing.found(step=plan.step, group=str(self.consumer_settings["group.id"])),
        )

    def producer(self, lane: int) -> Producer:
        """A new client under the lane's transactional id, if the guarantee has one."""
        settings = dict(self.producer_settings)
        if lane > 0:
            settings["transactional.id"] = self._lane_id(lane)
        return Producer(settings, tracked=frozenset() if self.state is None else self.state.topics)

    def parts(
        self,
        lane: int,
        positions: Positions,
        work: BatchWork,
        counters: Counters,
        state: LaneState | None = None,
    ) -> Parts:
        return Parts(
            positions=positions,
            make_producer=lambda: self.producer(lane),
            slot_holder=self._slot_holder,
            work=work,
            counters=counters,
            clock=self.clock,
            patience=self.patience,
            transaction_timeout_ms=self.transaction_timeout_ms,
            state=state,
        )

    def settle(self, lanes: Iterable[int]) -> None:
        """End whatever former lanes of this slot left open, so that no offset waits for them (rule 5)."""
        for lane in lanes:
            producer = self.producer(lane)
            try:
                self.patience.call("settle a former lane", producer.init_transactions)
            finally:
                producer.discard()
            log.info("former lane settled", step=self.plan.step, lane=lane)

    def _lane_id(self, lane: int) -> str:
        if self.plan.lane_id is None:
            raise ConfigurationError(f"step {self.plan.step!r} has no transactional id for lane {lane}", rule=5)
        return self.plan.lane_id(lane)

    def _slot_holder(self) -> str | None:
        slot = self.consumer_settings.get("group.instance.id")
        group = str(self.consumer_settings["group.id"])
        return self.cluster.instance_holders(group).get(str(slot)) if slot else None

    def slot_now(self) -> Slot:
        """What the group says about this worker's slot, once it has fenced us.

        While its coordinator is away, a static member joins again. If that answer is lost, the group knows it by a
        member id that it never heard of, and fences it. That member never comes to life, and is gone when its session
        ends; a worker under the same slot stays. Another ``client.id`` than ours tells sooner. Ours tells nothing:
        Apache Kafka keeps that of the member before (4.3.1).
        """
        slot, group = str(self.consumer_settings.get("group.instance.id")), str(self.consumer_settings["group.id"])
        client = self.cluster.instance_clients(group).get(slot)
        if client is None:
            return Slot.VACANT
        return Slot.ANOTHERS if client != self.client_id else Slot.UNCLEAR
