"""An application: a name, a guarantee and its steps. It only collects declarations.

Owns: ``App``. Must not know: Kafka's client, how steps run (``worker``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar, cast

from tallystick.errors import ConfigurationError
from tallystick.ids import TransactionalId
from tallystick.pipeline.async_functions import (
    CONCURRENCY,
    AsyncBatchFunctionProcessor,
    AsyncFunctionProcessor,
    is_async,
)
from tallystick.pipeline.batch_functions import BatchFunctionProcessor
from tallystick.pipeline.context import Context
from tallystick.pipeline.declared import Effect, check_idempotent, checked
from tallystick.pipeline.functions import FunctionProcessor
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.plan import the_one
from tallystick.pipeline.policy import DEAD_LETTER, ErrorPolicy
from tallystick.pipeline.ports import Processor
from tallystick.pipeline.state import AnyStore, K, LaneState, StatePlan, V
from tallystick.pipeline.step import BatchFunction, Declares, Emitted, Step, StepFunction
from tallystick.pipeline.topics import Topic
from tallystick.pipeline.windows import (
    Aggregation,
    Deduplication,
    Join,
    JoinFunction,
    JoinSide,
    JoinSpan,
    Table,
    TableTopic,
    Window,
    Windows,
    WithTables,
)

T = TypeVar("T")
L = TypeVar("L")
R = TypeVar("R")


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
        tables: Sequence[Table[Any, Any]] = (),
        deduplicate: timedelta | None = None,
        concurrency: int = CONCURRENCY,
    ) -> Declares[T]:
        """Declare the decorated function as a step that reads ``source``: it gets one event at a time.

        ``source`` may be several topics: the function then gets the events of each, and ``context.topic`` tells which.
        ``name`` is the function's by default. ``emits`` lists topics that the worker creates before it starts.
        ``state`` lists the stores that ``context.state`` gives the function, under exactly-once; ``tables`` those that
        topics fill. With ``deduplicate`` the function gets the first event of each event id only, within that span of
        event time.

        The function may be ``async def``: then records of different keys wait together, up to ``concurrency`` of them
        in each lane, and everything is awaited before the transaction commits. It has no state.
        """

        def declare(function: Any) -> Any:
            step_name = name or function.__name__
            if is_async(function):
                if state or tables or deduplicate is not None:
                    raise _async_with_state(step_name)
                self._declare_async(step_name, _topics(source), function, on_error, emits, concurrency)
                return function
            called, stores = cast("StepFunction[T]", function), list(state)
            if deduplicate is not None:
                deduplication = Deduplication(step_name, deduplicate, function)
                called, stores = deduplication, [*stores, deduplication.store]
            if tables:
                called, stores = WithTables(tables, called), [*stores, *tables]
            sources = [*_topics(source), *(TableTopic(table.topic) for table in tables)]
            self._declare_function(step_name, sources, called, on_error, emits, stores)
            return function

        return cast("Declares[T]", declare)

    def batch(
        self,
        *,
        source: Topic[T] | Sequence[Topic[Any]],
        name: str | None = None,
        on_error: ErrorPolicy = DEAD_LETTER,
        emits: Sequence[Topic[Any]] = (),
        state: Sequence[AnyStore] = (),
    ) -> Callable[[BatchFunction[T]], BatchFunction[T]]:
        """Declare the decorated function as a step that gets all events of a batch at once.

        It returns one result for each of them, in their order (rule 25). What it raises blames no record: it then gets
        the records one by one, and ``on_error`` says what becomes of the one that fails alone. ``state`` lists stores,
        which ``context[i].state`` gives it: of the partition that the i-th event came from.
        """
        sources = _topics(source)

        def declare(function: BatchFunction[T]) -> BatchFunction[T]:
            step_name = name or function.__name__
            if state and is_async(function):
                raise _async_with_state(step_name)

            def factory() -> Processor:
                kind = AsyncBatchFunctionProcessor if is_async(function) else BatchFunctionProcessor
                return kind(step_name, sources, cast("Any", function))

            def holding(held: LaneState) -> Processor:
                return BatchFunctionProcessor(step_name, sources, cast("Any", function), held)

            plan = self._state_plan(step_name, state, holding)
            self._declare(step_name, sources, factory, on_error, emits, state=plan, is_function=True)
            return function

        return declare

    def _declare_async(
        self,
        name: str,
        sources: Sequence[Topic[Any]],
        function: Callable[..., Any],
        on_error: ErrorPolicy,
        emits: Sequence[Topic[Any]],
        concurrency: int,
    ) -> None:
        def factory() -> Processor:
            return AsyncFunctionProcessor(name, sources, function, on_error, concurrency=concurrency)

        factory().close()  # so that what it refuses is refused here
        self._declare(name, sources, factory, on_error, emits, is_function=True)

    def aggregate(
        self,
        *,
        source: Topic[T],
        windows: Windows[K, V],
        key: Callable[[T], K] | None = None,
        time: Callable[[T], int] | None = None,
        merge: Callable[[V, V], V] | None = None,
        updated: Callable[[Window[K, V], Context], Emitted] | None = None,
        closed: Callable[[Window[K, V], Context], Emitted] | None = None,
        name: str | None = None,
        on_error: ErrorPolicy = DEAD_LETTER,
        emits: Sequence[Topic[Any]] = (),
    ) -> Callable[[Callable[[V | None, T], V]], Callable[[V | None, T], V]]:
        """Declare the decorated function, ``add(value, event)``, as what an event adds to the value of its windows.

        ``value`` is None in a new window. ``updated`` writes on each update, ``closed`` once for each window, when it
        closes; one of them at least is given. ``key`` is the record's by default, ``time`` its timestamp (milliseconds
        since 1970). Another key has to follow from the record's, whose partition holds the windows. Sessions need
        ``merge``, which makes one value of two.
        """

        def declare(add: Callable[[V | None, T], V]) -> Callable[[V | None, T], V]:
            step_name = name or add.__name__
            function = Aggregation(
                step_name, windows, add, key=key, time=time, merge=merge, updated=updated, closed=closed
            )
            more = [windows.late] if isinstance(windows.late, Topic) else []
            self._declare_function(step_name, [source], function, on_error, [*emits, *more], [windows])
            return add

        return declare

    def join(
        self,
        *,
        left: Topic[L],
        right: Topic[R],
        within: timedelta,
        grace: timedelta = timedelta(0),
        keep_left: bool = False,
        left_time: Callable[[L], int] | None = None,
        right_time: Callable[[R], int] | None = None,
        name: str | None = None,
        on_error: ErrorPolicy = DEAD_LETTER,
        emits: Sequence[Topic[Any]] = (),
    ) -> Callable[[JoinFunction], JoinFunction]:
        """Declare the decorated function, ``function(left, right, context)``, as what each pair of events makes.

        Events pair by the key of their records, if their times are at most ``within`` apart, whichever comes first.
        ``keep_left`` also gives left events that found nothing, with None, once nothing can come for them any more. An
        event that comes out of order by more than ``grace``, counted in its own topic and partition, is late: it goes
        to the dead-letter topic. Times are the records' timestamps unless ``left_time`` or ``right_time`` reads them.
        """

        def declare(function: JoinFunction) -> JoinFunction:
            step_name = name or function.__name__
            sides = (JoinSide("left", left, left_time), JoinSide("right", right, right_time))
            joined = Join(step_name, *sides, JoinSpan.of(within, grace), function, keep_left=keep_left)
            self._declare_function(step_name, [left, right], joined, on_error, emits, sides)
            return function

        return declare

    def add(
        self,
        name: str,
        sources: Sequence[Topic[Any] | str],
        processor: Effect | None = None,
        *,
        factory: Callable[[], Effect] | None = None,
        on_error: ErrorPolicy = DEAD_LETTER,
        emits: Sequence[Topic[Any] | str] = (),
        state: Sequence[AnyStore] = (),
    ) -> None:
        """Declare a step whose work an ``Effect`` does, such as a SQL effect: it says what makes a repetition harmless.

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
            check_idempotent(name, processor)
            self._declare(name, sources, the_one(processor, lanes=1), on_error, emits, processor)
        elif factory is not None:
            self._declare(name, sources, checked(factory, check_idempotent, name), on_error, emits)

    def dead_letter_topic(self, step: str) -> str:
        """Name of the topic that takes the records which ``step`` could not process."""
        return f"{self.name}.{step}.dead-letter"

    def _declare_function(
        self,
        step: str,
        sources: Sequence[Topic[Any]],
        function: StepFunction[Any],
        on_error: ErrorPolicy,
        emits: Sequence[Topic[Any]],
        stores: Sequence[AnyStore],
    ) -> None:
        def factory() -> Processor:
            return FunctionProcessor(step, sources, function, on_error)

        def holding(held: LaneState) -> Processor:
            return FunctionProcessor(step, sources, function, on_error, held)

        plan = self._state_plan(step, stores, holding)
        self._declare(step, sources, factory, on_error, emits, state=plan, is_function=True)

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
        *,
        is_function: bool = False,
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
        self._steps[name] = Step(name, names, factory, on_error, topics, processor, state, is_function)


def _async_with_state(step: str) -> ConfigurationError:
    return ConfigurationError(
        f"step {step!r} is async and has state: records that wait together would see it change",
        remedy="Keep the state in a step of its own, without async",
    )


def _topics(source: Topic[Any] | Sequence[Topic[Any]]) -> list[Topic[Any]]:
    return [source] if isinstance(source, Topic) else list(source)
