"""A decorated function as a processor: one record at a time.

Owns: decoding, calling the function for each record, its tries, and the derived ids of its outputs. Must not know:
transactions. A function sees one record at a time, so it is tried again on the spot: a record that fails leaves
nothing behind, because its outputs are kept only when it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any, ClassVar

from tallystick.errors import TallystickError
from tallystick.ids import EventId, derived_id
from tallystick.pipeline.context import Context
from tallystick.pipeline.declared import Idempotent
from tallystick.pipeline.outputs import Numbered, Results
from tallystick.pipeline.policy import ErrorPolicy
from tallystick.pipeline.polled import Polled
from tallystick.pipeline.ports import Poisoned
from tallystick.pipeline.records import Emit, Output, Record
from tallystick.pipeline.sources import Sources
from tallystick.pipeline.state import LaneState
from tallystick.pipeline.topics import DecodeError, Topic

Emits = Emit | Iterable[Emit] | None
"""What a function for single events returns: nothing, one record, or some."""


class FunctionProcessor:
    """Decodes each record by its topic's type and calls a step's function, with the policy's tries."""

    idempotent: ClassVar = Idempotent.NO_EFFECT

    takes_one_by_one: ClassVar = True  # it may be called with single records, so that each has a span around it

    def __init__(
        self,
        step: str,
        sources: Sequence[Topic[Any]],
        function: Callable[[Any, Context], Emits],
        on_error: ErrorPolicy,
        state: LaneState | None = None,
    ) -> None:
        self._step = step
        self._sources = Sources(sources)
        self._function = function
        self._tries = on_error.tries
        self._state = state

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output] | Poisoned]:
        """Outputs of each record, or the verdict that it is poisoned."""
        return [self.process_all(Polled.of([record])).of_one() for record in records]

    def process_all(self, records: Polled) -> Results:
        """The same for all records at once. The loop is what every record goes through: nothing in it is for show."""
        step, function, state = self._step, self._function, self._state
        partitions = () if state is None else records.partitions
        emits: list[Emit] = []
        ids: list[EventId] = []
        stamps: list[int] = []
        poisoned: list[tuple[int, Poisoned]] = []
        first_ids, decoders = records.derived_ids(step, 0), self._sources.decoders(records)
        values = zip(count(), first_ids, decoders, records.values, records.inherited_stamps)
        for index, first_id, decode, value, stamp in values:
            before = len(emits)
            try:
                stores = None if state is None else state.begin(partitions[index])
                returned = function(decode(value), Context(records, index, step, stores))
                if isinstance(returned, Emit):
                    emits.append(returned)
                    ids.append(returned.event_id or first_id)
                    stamps.append(stamp)
                elif returned is not None:
                    number = 0
                    for one in returned:
                        if not isinstance(one, Emit):
                            raise _no_emit(step, one)  # noqa: TRY301  # as if the function had
                        derived = derived_id(records.event_ids[index], step, number) if number else first_id
                        emits.append(one)
                        ids.append(one.event_id or derived)
                        stamps.append(stamp)
                        number += 1  # noqa: SIM113  # enumerate would make a tuple for each
                if stores is not None:
                    stores.keep(records.event_ids[index])
            except TallystickError:
                raise  # ours say what the caller does: the cycle decides
            except Exception as error:  # noqa: BLE001  # user code: any failure is the record's, and bounded
                del emits[before:], ids[before:], stamps[before:]
                again = self._again(records, index, error)
                if isinstance(again, Poisoned):
                    poisoned.append((before, again))
                else:
                    emits += again
                    ids += numbered(again, records.event_ids[index], step)
                    stamps += [stamp] * len(again)
        return Results(Numbered(emits, ids, stamps), poisoned)

    def close(self) -> None:
        """A function holds nothing."""

    def _again(self, records: Polled, index: int, error: Exception) -> list[Emit] | Poisoned:
        """After the first failure: whose fault it was, and the tries that are left."""
        record, state = records.record(index), self._state
        if state is not None:
            state.undo(record.partition)
        try:
            self._sources.event(record)
        except DecodeError as undecodable:
            return Poisoned(record, undecodable, 1)
        for _try in range(1, self._tries):
            stores = None if state is None else state.begin(record.partition)
            try:
                context = Context(records, index, self._step, stores)
                emits = emitted(self._function(self._sources.event(record), context), self._step)
            except TallystickError:
                raise
            except Exception as failure:  # noqa: BLE001  # as above
                error = failure
                if stores is not None:
                    stores.undo()
            else:
                if stores is not None:
                    stores.keep(record.event_id)
                return emits
        return Poisoned(record, error, self._tries)


class RecordFunction(FunctionProcessor):
    """Calls a function with each record as it is."""

    def __init__(self, step: str, function: Callable[[Record], Emits], on_error: ErrorPolicy) -> None:
        super().__init__(step, (), lambda _value, context: function(context.record), on_error)


def emitted(returned: Any, step: str) -> list[Emit]:
    """What a function returned, as a list; ``TypeError`` for anything but emits."""
    if returned is None:
        return []
    emits = [returned] if isinstance(returned, Emit) else list(returned)
    for one in emits:
        if not isinstance(one, Emit):
            raise _no_emit(step, one)
    return emits


def numbered(emits: Iterable[Emit], parent: EventId, step: str) -> list[EventId]:
    """The ids of one input's outputs: their own, or derived by their place."""
    return [one.event_id or derived_id(parent, step, ordinal) for ordinal, one in enumerate(emits)]


def _no_emit(step: str, one: object) -> TypeError:
    return TypeError(f"step {step!r} yields emit(...), not {type(one).__name__}")
