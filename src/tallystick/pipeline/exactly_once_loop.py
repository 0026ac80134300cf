"""The exactly-once cycle alone, in a program of yours.

Owns: ``ExactlyOnceLoop``. Must not know: applications, processes, signals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tallystick.errors import ConfigurationError
from tallystick.pipeline.async_functions import AsyncFunctionProcessor, is_async
from tallystick.pipeline.context import Emit
from tallystick.pipeline.counters import Counters
from tallystick.pipeline.declared import Effect, check_idempotent, checked
from tallystick.pipeline.functions import RecordFunction
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.loop import StepLoop
from tallystick.pipeline.observation import StepView
from tallystick.pipeline.plan import LoopPlan, the_one
from tallystick.pipeline.policy import DEAD_LETTER, ErrorPolicy
from tallystick.pipeline.ports import Processor
from tallystick.pipeline.records import Record


class ExactlyOnceLoop:
    """The exactly-once cycle alone, for a program that exists already.

    ``consumer_config`` and ``producer_config`` are librdkafka's settings: at least ``bootstrap.servers``,
    ``group.id``, ``group.instance.id`` and ``transactional.id``; ours fill the rest, and contradicting ones are
    refused. ``handler`` gets each record and returns, or yields, what to write (``async def`` too); or give a
    ``processor`` for batches, which says what makes a repetition harmless (``Effect``).
    ``run`` blocks in the calling thread until another thread, or a signal handler, calls ``stop``.

    With one lane, user code runs in the thread that calls ``run``. With more ``lanes``, up to that number of
    transactions run at the same time, over different partitions, each in a thread of its own: ``handler`` is called
    from all of them, and a processor comes from a ``factory`` that is called once in each. Lane n commits under the
    transactional id ``{transactional.id}/{n}``, lane 0 under ``transactional.id`` itself::

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
        processor: Effect | None = None,
        factory: Callable[[], Effect] | None = None,
        on_error: ErrorPolicy = DEAD_LETTER,
        dead_letter_topic: str | None = None,
        batch_records: int = 500,
        commit_interval_ms: int = 100,
        latency_goal_ms: int | None = None,
        lanes: int = 1,
    ) -> None:
        name = str(consumer_config.get("group.id", "loop"))
        first_id = str(producer_config.get("transactional.id", ""))
        self._loop = StepLoop(
            LoopPlan(
                step=name,
                sources=tuple(topics),
                guarantee=Guarantee.EXACTLY_ONCE,
                factory=_factory(name, handler, processor, factory, on_error=on_error, lanes=lanes),
                policy=on_error,
                dead_letter_topic=dead_letter_topic or f"{name}.dead-letter",
                consumer=consumer_config,
                producer=producer_config,
                lane_id=lambda lane: f"{first_id}/{lane}",
                lanes=lanes,
                batch_records=batch_records,
                commit_interval_ms=commit_interval_ms,
                latency_goal_ms=latency_goal_ms,
            )
        )

    @property
    def counters(self) -> Counters:
        """What the loop did so far."""
        return self._loop.counters

    def view(self) -> StepView:
        """What the loop shows of itself: counters, latencies, lag. May be called from any thread."""
        return self._loop.view()

    def run(self) -> None:
        """Until ``stop``; raises what stops it (see ``StepLoop.run``)."""
        self._loop.run()

    def stop(self) -> None:
        """Ask ``run`` to finish the open transaction and return."""
        self._loop.stop()


def _factory(
    name: str,
    handler: Callable[[Record], Emit | Iterable[Emit] | None] | None,
    processor: Effect | None,
    factory: Callable[[], Effect] | None,
    *,
    on_error: ErrorPolicy,
    lanes: int,
) -> Callable[[], Processor]:
    if sum(given is not None for given in (handler, processor, factory)) != 1:
        raise ConfigurationError("ExactlyOnceLoop needs one of handler, processor and factory")
    if handler is not None:
        if is_async(handler):
            return lambda: AsyncFunctionProcessor(name, (), lambda _value, context: handler(context.record), on_error)
        return lambda: RecordFunction(name, handler, on_error)
    if processor is not None:
        check_idempotent(name, processor)
        return the_one(processor, lanes=lanes)
    if factory is None:
        raise ConfigurationError("ExactlyOnceLoop needs one of handler, processor and factory")
    return checked(factory, check_idempotent, name)
