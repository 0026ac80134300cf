"""One step's loop: poll, hand the batch to the guarantee's strategy, again; until it is told to stop.

Owns: ``StepLoop`` (a step of an application) and ``ExactlyOnceLoop`` (the same cycle alone, in a program of yours).
Must not know: processes, signals.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import structlog

from tallystick.clock import Clock, SystemClock
from tallystick.errors import ConfigurationError
from tallystick.pipeline.assignment import Assignment
from tallystick.pipeline.at_least_once import AtLeastOnce
from tallystick.pipeline.at_most_once import AtMostOnce
from tallystick.pipeline.batch import Batch, EventIds, Message
from tallystick.pipeline.context import Emit
from tallystick.pipeline.counters import Counters
from tallystick.pipeline.exactly_once import ExactlyOnce
from tallystick.pipeline.functions import RecordFunction
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.kafka_client import Cluster, GroupConsumer, Producer
from tallystick.pipeline.patience import Patience
from tallystick.pipeline.policy import DEAD_LETTER, ErrorPolicy
from tallystick.pipeline.ports import Processor
from tallystick.pipeline.records import Record
from tallystick.pipeline.settings import TRANSACTION_TIMEOUT_MS, consumer_settings, producer_settings
from tallystick.pipeline.strategy import Parts, Strategy
from tallystick.pipeline.work import BatchWork, WorkStopped
from tallystick.stopping import StopFlag

log = structlog.get_logger(__name__)

PATIENCE_MS: Final = 120_000
"""How long a worker waits for a cluster that is away before it gives up; below ``max.poll.interval.ms``."""

_STRATEGIES: Final[dict[Guarantee, Callable[[Parts], Strategy]]] = {
    Guarantee.AT_MOST_ONCE: AtMostOnce,
    Guarantee.AT_LEAST_ONCE: AtLeastOnce,
    Guarantee.EXACTLY_ONCE: ExactlyOnce,
}

_ADMIN_SETTINGS: Final = ("bootstrap.servers", "security.", "sasl.", "ssl.", "client.id")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopPlan:
    """What one loop does; ``consumer`` and ``producer`` are the user's settings, not yet merged with ours."""

    step: str
    sources: tuple[str, ...]
    guarantee: Guarantee
    factory: Callable[[], Processor]
    policy: ErrorPolicy
    dead_letter_topic: str
    consumer: Mapping[str, Any]
    producer: Mapping[str, Any]
    batch_records: int = 500
    commit_interval_ms: int = 100
    topics: Mapping[str, int | None] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.batch_records <= 100_000:
            raise ConfigurationError(f"batch_records={self.batch_records}: 1 to 100,000 are possible")
        if not 1 <= self.commit_interval_ms <= 10_000:
            raise ConfigurationError(f"commit_interval_ms={self.commit_interval_ms}: 1 to 10,000 are possible")


class StepLoop:
    """Runs a plan in the calling thread. User code, polling and producing all happen in that one thread."""

    def __init__(self, plan: LoopPlan, *, stop: threading.Event | None = None, clock: Clock | None = None) -> None:
        self._plan = plan
        self._consumer_settings = consumer_settings(plan.consumer, guarantee=plan.guarantee)
        self._producer_settings = producer_settings(plan.producer, self._consumer_settings, guarantee=plan.guarantee)
        self._stop = stop or StopFlag()
        self._clock = clock or SystemClock()
        self._high: dict[tuple[str, int], int] = {}
        self.counters = Counters()

    @property
    def step(self) -> str:
        return self._plan.step

    def stop(self) -> None:
        """Ask the loop to finish its open batch and return. May be called from any thread."""
        self._stop.set()

    def run(self, on_turn: Callable[[], None] = lambda: None) -> None:
        """Until ``stop``. ``on_turn`` is called after each poll.

        Raises ``FencedError``, ``FatalError``, ``ConfigurationError``, or what the step raised if its policy is to
        stop.
        """
        with ExitStack() as closing:
            try:
                self._run(closing, on_turn)
            except WorkStopped as stopped:
                raise stopped.cause from stopped
            finally:
                log.info("step ends", step=self._plan.step, **self.counters.snapshot())

    def _run(self, closing: ExitStack, on_turn: Callable[[], None]) -> None:
        plan = self._plan
        group = str(self._consumer_settings["group.id"])
        patience = Patience(self._clock, self._stop, PATIENCE_MS)
        cluster = Cluster(_admin_settings(self._consumer_settings))
        ids = self._prepare_topics(cluster, patience)
        work = BatchWork(plan.factory(), step=plan.step, policy=plan.policy, dead_letter_topic=plan.dead_letter_topic)
        closing.callback(work.close)
        assignment = Assignment(
            group=group, cluster=cluster, sources=plan.sources, patience=patience, counters=self.counters
        )
        strategy = _STRATEGIES[plan.guarantee](self._parts(assignment, work, patience, cluster, group))
        closing.callback(strategy.close)
        consumer = GroupConsumer(self._consumer_settings, assignment)
        closing.callback(consumer.close)
        assignment.attach(consumer, strategy.changed)
        log.info("step starts", step=plan.step, group=group, guarantee=plan.guarantee.value)
        strategy.start()
        consumer.subscribe(plan.sources)
        while not self._stop.is_set():
            self._turn(consumer, assignment, strategy, work, ids)
            on_turn()

    def _parts(
        self, assignment: Assignment, work: BatchWork, patience: Patience, cluster: Cluster, group: str
    ) -> Parts:
        timeout_ms = int(self._producer_settings.get("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS))
        return Parts(
            assignment=assignment,
            make_producer=lambda: Producer(self._producer_settings),
            slot_holder=lambda: self._slot_holder(cluster, group),
            work=work,
            counters=self.counters,
            clock=self._clock,
            patience=patience,
            transaction_timeout_ms=timeout_ms,
        )

    def _turn(
        self, consumer: GroupConsumer, assignment: Assignment, strategy: Strategy, work: BatchWork, ids: EventIds
    ) -> None:
        limit = 1 if work.failures.isolating else self._plan.batch_records
        before = assignment.changes
        messages: list[Message] = consumer.poll(limit, self._plan.commit_interval_ms)
        if not messages:
            strategy.idle()
            return
        if assignment.changes != before:
            # Records polled before a rebalance and after it are in one list: none can be trusted to be next.
            assignment.rewind()
            return
        batch = ids.batch(messages)
        self._count_replays(batch)
        strategy.deliver(batch)

    def _count_replays(self, batch: Batch) -> None:
        high = self._high
        for record in batch.records:
            place = (record.topic, record.partition)
            if record.offset < high.get(place, 0):
                self.counters.records_replayed += 1
            else:
                high[place] = record.offset + 1

    def _prepare_topics(self, cluster: Cluster, patience: Patience) -> EventIds:
        wanted = dict(self._plan.topics or dict.fromkeys(self._plan.sources))
        wanted.setdefault(self._plan.dead_letter_topic, None)
        cluster_id = patience.call("cluster", cluster.cluster_id)
        found = patience.call("topics", lambda: cluster.topics(wanted))
        absent = {name: count for name, count in wanted.items() if name not in found}
        if absent:
            patience.call("create topics", lambda: cluster.create_topics(absent))
            found = patience.call("topics", lambda: cluster.topics_when_present(wanted))
        for name, count in wanted.items():
            if count is not None and found[name].partitions != count:
                raise ConfigurationError(
                    f"topic {name!r} has {found[name].partitions} partitions and is declared with {count}",
                    remedy="Correct the declaration: which key lands where is part of the data",
                )
        return EventIds(cluster_id, {name: facts.topic_id for name, facts in found.items()})

    def _slot_holder(self, cluster: Cluster, group: str) -> str | None:
        slot = self._consumer_settings.get("group.instance.id")
        return cluster.instance_holders(group).get(str(slot)) if slot else None


class ExactlyOnceLoop:
    """The exactly-once cycle alone, for a program that exists already.

    ``consumer_config`` and ``producer_config`` are librdkafka's settings: at least ``bootstrap.servers``,
    ``group.id``, ``group.instance.id`` and ``transactional.id``; ours fill the rest, and contradicting ones are
    refused. ``handler`` gets each record and returns, or yields, what to write; or give a ``processor`` for batches.
    ``run`` blocks in the calling thread until another thread, or a signal handler, calls ``stop``::

        loop = ExactlyOnceLoop(
            {"bootstrap.servers": "127.0.0.1:9092", "group.id": "copy", "group.instance.id": "copy-0"},
            {"transactional.id": "copy-0"},
            ["source"],
            handler=lambda record: Emit("target", record.key, record.value),
        )
        loop.run()
    """

    def __init__(
        self,
        consumer_config: Mapping[str, Any],
        producer_config: Mapping[str, Any],
        topics: Sequence[str],
        *,
        handler: Callable[[Record], Emit | Iterable[Emit] | None] | None = None,
        processor: Processor | None = None,
        on_error: ErrorPolicy = DEAD_LETTER,
        dead_letter_topic: str | None = None,
        batch_records: int = 500,
        commit_interval_ms: int = 100,
    ) -> None:
        if (handler is None) == (processor is None):
            raise ConfigurationError("ExactlyOnceLoop needs a handler or a processor, and not both")
        name = str(consumer_config.get("group.id", "loop"))
        made = processor if handler is None else RecordFunction(name, handler, on_error)
        if made is None:
            raise ConfigurationError("ExactlyOnceLoop needs a handler or a processor")
        self._loop = StepLoop(
            LoopPlan(
                step=name,
                sources=tuple(topics),
                guarantee=Guarantee.EXACTLY_ONCE,
                factory=lambda: made,
                policy=on_error,
                dead_letter_topic=dead_letter_topic or f"{name}.dead-letter",
                consumer=consumer_config,
                producer=producer_config,
                batch_records=batch_records,
                commit_interval_ms=commit_interval_ms,
            )
        )

    @property
    def counters(self) -> Counters:
        """What the loop did so far."""
        return self._loop.counters

    def run(self) -> None:
        """Until ``stop``; raises what stops it (see ``StepLoop.run``)."""
        self._loop.run()

    def stop(self) -> None:
        """Ask ``run`` to finish the open transaction and return."""
        self._loop.stop()


def _admin_settings(consumer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in consumer.items() if name.startswith(_ADMIN_SETTINGS)}
