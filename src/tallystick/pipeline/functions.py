"""A decorated function as a processor: one record at a time.

Owns: decoding, calling the function for each record, its tries, and the derived ids of its outputs. Must not know:
transactions. A function sees one record at a time, so it is tried again on the spot: a record that fails leaves
nothing behind, because its outputs are kept only when it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count, repeat
from operator import attrgetter
from typing import Any, ClassVar, Final

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
        """The same for all records at once. It is what every record goes through: nothing in it is for show."""
        step, function, state = self._step, self._function, self._state
        first_ids, inherited = records.derived_ids(step, 0), records.inherited_stamps
        done, raised = self._in_a_row(records) if state is None else ([], None)
        if len(done) == len(records) and _are_plain(done):
            return Results(Numbered(done, first_ids, inherited))
        partitions = () if state is None else records.partitions
        emits: list[Emit] = []
        ids: list[EventId] = []
        stamps: list[int] = []
        poisoned: list[tuple[int, Poisoned]] = []
        values = zip(count(), first_ids, self._sources.decoders(records), records.values, inherited)
        for index, first_id, decode, value, stamp in values:
            before = len(emits)
            try:
                stores = None if state is None else state.begin(partitions[index])
                if index < len(done):
                    returned = done[index]
                elif raised is not None:
                    error, raised = raised, None
                    raise error  # noqa: TRY301  # it was raised by this record's call
                else:
                    returned = function(decode(value), Context(records, index, step, stores))
                if isinstance(returned, Emit):
                    emits.append(returned)
                    ids.append(returned.event_id or first_id)
                    stamps.append(stamp)
                elif returned is not None:
                    some = emitted(returned, step)
                    emits += some
                    ids += [some[0].event_id or first_id] if len(some) == 1 else self._ids(some, records, index)
                    stamps += [stamp] * len(some)
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
                    ids += self._ids(again, records, index)
                    stamps += [stamp] * len(again)
        return Results(Numbered(emits, ids, stamps), poisoned)

    def _in_a_row(self, records: Polled) -> tuple[list[Any], Exception | None]:
        """What the function returns for the first records, and what it raised for the one behind them.

        A loop in C over decoding, contexts and calls, which ends at the first failure. It begins once the first record
        has shown that the function returns what it emits. One that yields works while it is asked for its records, and
        has to be asked before it is called for the next event.
        """
        contexts = map(Context, repeat(records), range(len(records)), repeat(self._step))
        calls = map(self._function, self._sources.events(records), contexts)
        returned: list[Any] = []
        try:
            returned.append(next(calls))
            if isinstance(returned[0], Emit):
                returned.extend(calls)  # what was returned before a failure stays in the list
        except TallystickError:
            raise
        except Exception as error:  # noqa: BLE001  # user code, as in process_all
            return returned, error
        return returned, None

    def close(self) -> None:
        """A function holds nothing."""

    def _ids(self, emits: Sequence[Emit], records: Polled, index: int) -> list[EventId]:
        return numbered(emits, records.event_ids[index], self._step)

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


_OWN_ID: Final = attrgetter("event_id")


def _are_plain(returned: Sequence[Any]) -> bool:
    """Whether these are records without ids of their own, one for each input."""
    return set(map(type, returned)) == {Emit} and not any(map(_OWN_ID, returned))


def _no_emit(step: str, one: object) -> TypeError:
    return TypeError(f"step {step!r} yields emit(...), not {type(one).__name__}")
