"""Coroutine functions as processors: many records are waited for at once, on one event loop.

Owns: the loop of a lane, how many wait together, and the order. Must not know: transactions.

Records of one key are handled one after the other, in their order; different keys, and records without one, together.
The outputs stand in the order of the inputs, whatever was ready first. Everything is awaited before the transaction
commits: the batch takes as long as its slowest chain of one key.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, ClassVar, Final, TypeVar

from tallystick.errors import ConfigurationError, TallystickError
from tallystick.ids import EventId
from tallystick.pipeline.batch_functions import BatchFunctionProcessor
from tallystick.pipeline.context import BatchContext, Context
from tallystick.pipeline.declared import Idempotent
from tallystick.pipeline.functions import emitted, numbered
from tallystick.pipeline.outputs import Numbered, Results
from tallystick.pipeline.policy import ErrorPolicy
from tallystick.pipeline.polled import Polled
from tallystick.pipeline.ports import Poisoned
from tallystick.pipeline.records import Emit, Output, Record
from tallystick.pipeline.sources import Sources
from tallystick.pipeline.topics import DecodeError, Topic

R = TypeVar("R")

CONCURRENCY: Final = 100
"""Records of one lane that are waited for at once, unless a step says otherwise."""
_MAX_CONCURRENCY: Final = 100_000


def is_async(function: Callable[..., Any]) -> bool:
    """Whether it was written with ``async def``, with or without ``yield``."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


class LaneLoop:
    """An event loop that runs while the lane waits for it, and keeps what it holds between batches."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(coroutine)

    def close(self) -> None:
        """Cancel what is left on it, and close it."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None


class AsyncFunctionProcessor:
    """Calls a coroutine function for each record; up to ``concurrency`` wait at once."""

    idempotent: ClassVar = Idempotent.NO_EFFECT

    def __init__(
        self,
        step: str,
        sources: Sequence[Topic[Any]],
        function: Callable[[Any, Context], Any],
        on_error: ErrorPolicy,
        *,
        concurrency: int = CONCURRENCY,
    ) -> None:
        if not 1 <= concurrency <= _MAX_CONCURRENCY:
            raise ConfigurationError(f"concurrency={concurrency}: 1 to {_MAX_CONCURRENCY:,} are possible")
        self._step = step
        self._sources = Sources(sources)
        self._function = function
        self._tries = on_error.tries
        self._concurrency = concurrency
        self._loop = LaneLoop()

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output] | Poisoned]:
        """Outputs of each record, or the verdict that it is poisoned."""
        polled = Polled.of(records)
        columns = zip(self._done(polled), polled.event_ids, polled.inherited_stamps, strict=True)
        return [
            done
            if isinstance(done, Poisoned)
            else list(Numbered(done, numbered(done, parent, self._step), [stamp] * len(done)))
            for done, parent, stamp in columns
        ]

    def process_all(self, records: Polled) -> Results:
        emits: list[Emit] = []
        ids: list[EventId] = []
        stamps: list[int] = []
        poisoned: list[tuple[int, Poisoned]] = []
        for index, done in enumerate(self._done(records)):
            if isinstance(done, Poisoned):
                poisoned.append((len(emits), done))
            elif done:
                emits += done
                ids += numbered(done, records.event_ids[index], self._step)
                stamps += [records.inherited_stamps[index]] * len(done)
        return Results(Numbered(emits, ids, stamps), poisoned)

    def close(self) -> None:
        self._loop.close()

    def _done(self, records: Polled) -> list[list[Emit] | Poisoned]:
        return self._loop.run(self._all(records)) if len(records) else []

    async def _all(self, records: Polled) -> list[list[Emit] | Poisoned]:
        """Each worker takes the next chain of one key until there is none; the first error of ours ends them all."""
        results: list[list[Emit] | Poisoned] = [[] for _ in range(len(records))]
        chains = _chains(records.keys)

        async def work(left: Iterator[list[int]]) -> None:
            for chain in left:
                for index in chain:
                    results[index] = await self._one(records, index)

        left = iter(chains)
        workers = [asyncio.create_task(work(left)) for _ in range(min(self._concurrency, len(chains)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return results

    async def _one(self, records: Polled, index: int) -> list[Emit] | Poisoned:
        record, context = records.record(index), Context(records, index, self._step)
        tries = 0
        while True:
            tries += 1
            try:
                returned = self._function(self._sources.event(record), context)
                if inspect.isasyncgen(returned):
                    return emitted([one async for one in returned], self._step)
                return emitted(await returned, self._step)
            except DecodeError as error:
                return Poisoned(record, error, tries)
            except TallystickError:
                raise  # ours say what the caller does: the cycle decides
            except Exception as error:  # noqa: BLE001  # user code: any failure is the record's, and bounded
                if tries >= self._tries:
                    return Poisoned(record, error, tries)


class AsyncBatchFunctionProcessor(BatchFunctionProcessor):
    """Calls a coroutine function with the events of a batch."""

    def __init__(
        self,
        step: str,
        sources: Sequence[Topic[Any]],
        function: Callable[[list[Any], BatchContext], Awaitable[Any]],
    ) -> None:
        self._loop = LaneLoop()

        async def called(events: list[Any], context: BatchContext) -> Any:
            return await function(events, context)

        super().__init__(step, sources, lambda events, context: self._loop.run(called(events, context)))

    def close(self) -> None:
        self._loop.close()


def _chains(keys: Sequence[bytes | None]) -> list[list[int]]:
    """Indexes of records that follow each other: those of one key. One without a key follows nobody."""
    chains: list[list[int]] = []
    by_key: dict[bytes, list[int]] = {}
    for index, key in enumerate(keys):
        chain = None if key is None else by_key.get(key)
        if chain is not None:
            chain.append(index)
            continue
        chain = [index]
        chains.append(chain)
        if key is not None:
            by_key[key] = chain
    return chains
