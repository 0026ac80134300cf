"""An application: a name, a guarantee and its steps. It only collects declarations.

Owns: ``App`` and ``Step``. Must not know: Kafka's client, how steps run (``worker``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tallystick.errors import ConfigurationError
from tallystick.ids import TransactionalId
from tallystick.pipeline.batch_functions import BatchFunctionProcessor, BatchResult
from tallystick.pipeline.context import BatchContext, Context, Emit
from tallystick.pipeline.functions import FunctionProcessor
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.plan import the_one
from tallystick.pipeline.policy import DEAD_LETTER, ErrorPolicy
from tallystick.pipeline.ports import Processor
from tallystick.pipeline.state import AnyStore, LaneState, StatePlan
from tallystick.pipeline.topics import Topic

T = TypeVar("T")

StepFunction = Callable[[T, Context], Emit | Iterable[Emit] | None]
"""A step: gets one event and its context, returns or yields what to write. It may be called again (rule 25)."""


BatchFunction = Callable[[list[T], BatchContext], BatchResult]
"""A batch function: gets the events of a batch and their context, returns one result for each (rule 25)."""


@dataclass(frozen=True, slots=True)
class Step:
    """One consumer group's work: source topics, and a factory for the processor that handles their records.

    ``topics`` are the topics that must exist before the step starts, name to partition count or None. ``processor``
    is the only one that there is, if the application made it: several lanes cannot share it.
    """

    name: str
    sources: tuple[str, ...]
    factory: Callable[[], Processor]
    on_error: ErrorPolicy
    topics: dict[str, int | None]
    processor: Processor | None = None
    state: StatePlan | None = None
    """Stores of the step, and what makes a processor that holds them, instead of ``factory``."""


class App:
    """A named set of steps under one guarantee.

    The name becomes part of group ids and transactional ids, which are frozen: a renamed application is another
    application and starts from the beginning.
    """

    def __init__(self, name: str, *, guarantee: Guarantee = Guarantee.EXACTLY_ONCE) -> None:
        TransactionalId(application=name, group=name, slot="slot", lane=0)
        self.name = name
        self.guarantee = guarantee
        self._steps: dict[str, Step] = {}

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps, in the order of their declaration."""
        return tuple(self._steps.values())

    def step(
        self,
        *,
        source: Topic[T] | Sequence[Topic[Any]],
        name: str | None = None,
        on_error: ErrorPolicy = DEAD_LETTER,
        emits: Sequence[Topic[Any]] = (),
        state: Sequence[AnyStore] = (),
    ) -> Callable[[StepFunction[T]], StepFunction[T]]:
        """Declare the decorated function as a step that reads ``source``: it gets one event at a time.

        ``source`` may be several topics: the function then gets the events of each, and ``context.topic`` tells which.
        ``name`` is the function's by default. ``emits`` lists topics that the worker creates before it starts.
        ``state`` lists the stores that ``context.state`` gives the function, under exactly-once.
        """
        sources = _topics(source)

        def declare(function: StepFunction[T]) -> StepFunction[T]:
            step_name = name or function.__name__

            def factory() -> Processor:
                return FunctionProcessor(step_name, sources, function, on_error)

            def holding(held: LaneState) -> Processor:
                return FunctionProcessor(step_name, sources, function, on_error, held)

            self._declare(
                step_name, sources, factory, on_error, emits, state=self._state_plan(step_name, state, holding)
            )
            return function

        return declare

    def batch(
        self,
        *,
        source: Topic[T] | Sequence[Topic[Any]],
        name: str | None = None,
        on_error: ErrorPolicy = DEAD_LETTER,
        emits: Sequence[Topic[Any]] = (),
    ) -> Callable[[BatchFunction[T]], BatchFunction[T]]:
        """Declare the decorated function as a step that gets all events of a batch at once.

        It returns one result for each of them, in their order (rule 25). What it raises blames no record: it then gets
        the records one by one, and ``on_error`` says what becomes of the one that fails alone.
        """
        sources = _topics(source)

        def declare(function: BatchFunction[T]) -> BatchFunction[T]:
            step_name = name or function.__name__

            def factory() -> Processor:
                return BatchFunctionProcessor(step_name, sources, function)

            self._declare(step_name, sources, factory, on_error, emits)
            return function

        return declare

    def add(
        self,
        name: str,
        sources: Sequence[Topic[Any] | str],
        processor: Processor | None = None,
        *,
        factory: Callable[[], Processor] | None = None,
        on_error: ErrorPolicy = DEAD_LETTER,
        emits: Sequence[Topic[Any] | str] = (),
        state: Sequence[AnyStore] = (),
    ) -> None:
        """Declare a step whose work a ``Processor`` does, such as a SQL effect.

        It cannot have ``state``: a replay of what it wrote outside Kafka would skip the change of state (rule 25).
        Give ``factory`` instead of ``processor`` when the processor holds connections, and for workers with several
        lanes: each worker process calls it once for each lane, in the thread that runs the lane.
        """
        if state:
            raise ConfigurationError(
                f"step {name!r} has a processor, which may have effects outside Kafka, and keyed state",
                rule=25,
                remedy="Keep such state in SQL, in the effect's transaction; or give the state to a step of its own",
            )
        if (processor is None) == (factory is None):
            raise ConfigurationError(f"step {name!r} needs a processor or a factory, and not both")
        if processor is not None:
            self._declare(name, sources, the_one(processor, lanes=1), on_error, emits, processor)
        elif factory is not None:
            self._declare(name, sources, factory, on_error, emits)

    def dead_letter_topic(self, step: str) -> str:
        """Name of the topic that takes the records which ``step`` could not process."""
        return f"{self.name}.{step}.dead-letter"

    def _state_plan(
        self, step: str, stores: Sequence[AnyStore], factory: Callable[[LaneState], Processor]
    ) -> StatePlan | None:
        names = [store.name for store in stores]
        if len(set(names)) != len(names):
            raise ConfigurationError(f"step {step!r} has two stores of one name: {names}")
        if stores and self.guarantee is not Guarantee.EXACTLY_ONCE:
            raise ConfigurationError(
                f"step {step!r} keeps state, and the guarantee is {self.guarantee.value}: a repeated record would "
                "change it twice",
                remedy="Use Guarantee.EXACTLY_ONCE, or keep no state",
            )
        return StatePlan(tuple(stores), factory) if stores else None

    def _declare(
        self,
        name: str,
        sources: Sequence[Topic[Any] | str],
        factory: Callable[[], Processor],
        on_error: ErrorPolicy,
        emits: Sequence[Topic[Any] | str],
        processor: Processor | None = None,
        state: StatePlan | None = None,
    ) -> None:
        TransactionalId(application=self.name, group=f"{self.name}.{name}", slot=name, lane=0)
        if name in self._steps:
            raise ConfigurationError(f"application {self.name!r} has two steps named {name!r}")
        if not sources:
            raise ConfigurationError(f"step {name!r} reads no topic")
        topics: dict[str, int | None] = {}
        for topic in (*sources, *emits):
            topic_name, partitions = (topic, None) if isinstance(topic, str) else (topic.name, topic.partitions)
            topics[topic_name] = partitions or topics.get(topic_name)
        names = tuple(dict.fromkeys(topic if isinstance(topic, str) else topic.name for topic in sources))
        self._steps[name] = Step(name, names, factory, on_error, topics, processor, state)


def _topics(source: Topic[Any] | Sequence[Topic[Any]]) -> list[Topic[Any]]:
    return [source] if isinstance(source, Topic) else list(source)
