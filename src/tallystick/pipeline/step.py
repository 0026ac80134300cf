"""What a step is: the shapes of the functions that one may be, and what is declared of it.

Owns: ``Step``. Must not know: how it is declared (``app``), how it runs (``worker``).
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar, overload

from tallystick.pipeline.batch_functions import BatchResult
from tallystick.pipeline.context import BatchContext, Context, Emit
from tallystick.pipeline.policy import ErrorPolicy
from tallystick.pipeline.ports import Processor
from tallystick.pipeline.state import StatePlan

T = TypeVar("T")

Emitted = Emit | Iterable[Emit] | None
StepFunction = Callable[[T, Context], Emitted]
"""A step: gets one event and its context, returns or yields what to write. It may be called again (rule 25)."""

AsyncStepFunction = Callable[[T, Context], Awaitable[Emitted] | AsyncIterable[Emit]]
"""The same with ``async def``: it returns, or yields, what to write."""


class Declares(Protocol[T]):
    """What ``App.step`` gives: it takes the function, and gives it back as it is."""

    @overload
    def __call__(self, function: StepFunction[T], /) -> StepFunction[T]: ...
    @overload
    def __call__(self, function: AsyncStepFunction[T], /) -> AsyncStepFunction[T]: ...


BatchFunction = Callable[[list[T], BatchContext], BatchResult | Awaitable[BatchResult]]
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
    is_function: bool = False
    """Whether the processor calls a function, and does nothing outside Kafka that the application did not put there."""
