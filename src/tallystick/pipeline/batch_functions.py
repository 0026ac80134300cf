"""A decorated batch function as a processor: all events of a batch in one call.

Owns: decoding, the call, and that there is one result for each input (rule 25). Must not know: transactions. What the
function raises blames no record: the runtime then gives it the records one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from tallystick.errors import ConfigurationError, TallystickError
from tallystick.ids import EventId
from tallystick.pipeline.context import BatchContext, Emits
from tallystick.pipeline.declared import Idempotent
from tallystick.pipeline.functions import emitted, numbered
from tallystick.pipeline.outputs import Column, Numbered, Results
from tallystick.pipeline.polled import Polled
from tallystick.pipeline.ports import Poisoned
from tallystick.pipeline.records import Emit, Output, Record
from tallystick.pipeline.sources import Sources
from tallystick.pipeline.state import BatchState, LaneState
from tallystick.pipeline.topics import DecodeError, Topic

BatchResult = Emits | Sequence[Emit | Iterable[Emit] | None]
"""What a batch function returns: ``emit_each``, or for each input nothing, one record, or some."""


class BatchFunctionProcessor:
    """Decodes a batch by its topics' types and calls a step's function with all events that decode."""

    idempotent: ClassVar = Idempotent.NO_EFFECT

    def __init__(
        self,
        step: str,
        sources: Sequence[Topic[Any]],
        function: Callable[[list[Any], BatchContext], BatchResult],
        state: LaneState | None = None,
    ) -> None:
        self._step = step
        self._sources = Sources(sources)
        self._function = function
        self._state = state

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output] | Poisoned]:
        """Outputs of each record, or the verdict that it is poisoned."""
        events, whole, poisoned = self._events(Polled.of(records))
        verdicts: dict[int, Poisoned] = dict(poisoned)
        rows = iter(self._rows(events, whole))
        return [verdicts[index] if index in verdicts else list(next(rows)) for index in range(len(records))]

    def process_all(self, records: Polled) -> Results:
        events, whole, poisoned = self._events(records)
        if not events:
            return Results((), [(0, one) for _, one in poisoned])
        returned = self._returned(events, whole)
        if isinstance(returned, Emits) and not poisoned:
            self._check(len(returned.values), events)
            ids = whole.derived_ids(self._step, 0)
            return Results(Column(returned.topic, returned.keys, returned.values, ids, whole.inherited_stamps))
        if poisoned or isinstance(returned, Emits):
            return _joined(self._numbered(returned, events, whole), dict(poisoned))
        self._check(len(returned), events)
        return Results(self._flat(returned, whole))

    def close(self) -> None:
        """A function holds nothing."""

    def _events(self, records: Polled) -> tuple[list[Any], Polled, list[tuple[int, Poisoned]]]:
        """The values, the records that they are of, and the others with their indexes."""
        try:
            return list(self._sources.events(records)), records, []
        except TallystickError:
            raise
        except Exception:  # noqa: BLE001  # some value does not decode: one by one shows which
            return self._events_one_by_one(records)

    def _events_one_by_one(self, records: Polled) -> tuple[list[Any], Polled, list[tuple[int, Poisoned]]]:
        events: list[Any] = []
        whole: list[Record] = []
        poisoned: list[tuple[int, Poisoned]] = []
        for index, record in enumerate(records):
            try:
                events.append(self._sources.event(record))
                whole.append(record)
            except DecodeError as error:
                poisoned.append((index, Poisoned(record, error, 1)))
        return events, Polled.of(whole), poisoned

    def _flat(self, returned: Sequence[Emit | Iterable[Emit] | None], whole: Polled) -> Numbered:
        step, emits, ids, stamps = self._step, list[Emit](), list[EventId](), list[int]()
        columns = zip(returned, whole.derived_ids(step, 0), whole.inherited_stamps, strict=True)
        for index, (one, first_id, stamp) in enumerate(columns):
            if isinstance(one, Emit):
                emits.append(one)
                ids.append(one.event_id or first_id)
                stamps.append(stamp)
            elif one is not None:
                some = emitted(one, step)
                emits += some
                ids += numbered(some, whole.event_ids[index], step)
                stamps += [stamp] * len(some)
        return Numbered(emits, ids, stamps)

    def _rows(self, events: list[Any], whole: Polled) -> Iterable[Sequence[Output]]:
        if not events:
            return []
        return self._numbered(self._returned(events, whole), events, whole)

    def _returned(self, events: list[Any], whole: Polled) -> BatchResult:
        if self._state is None:
            return self._function(events, BatchContext(whole, self._step))
        stores = BatchState(self._state, whole.partitions, whole.event_ids)
        try:
            returned = self._function(events, BatchContext(whole, self._step, stores))
            if not isinstance(returned, Emits):
                returned = [emitted(one, self._step) for one in returned]  # so that what it yields is made here
        except BaseException:
            stores.undo()
            raise
        stores.keep()
        return returned

    def _numbered(self, returned: BatchResult, events: list[Any], whole: Polled) -> list[Numbered]:
        if isinstance(returned, Emits):
            self._check(len(returned.values), events)
            columns = zip(returned.keys, returned.values, strict=True)
            returned = [Emit(returned.topic, key, value) for key, value in columns]
        else:
            self._check(len(returned), events)
        rows = []
        for one, parent, stamp in zip(returned, whole.event_ids, whole.inherited_stamps, strict=True):
            emits = emitted(one, self._step)
            rows.append(Numbered(emits, numbered(emits, parent, self._step), [stamp] * len(emits)))
        return rows

    def _check(self, results: int, events: list[Any]) -> None:
        if results != len(events):
            raise ConfigurationError(
                f"step {self._step!r} returned {results} results for {len(events)} events",
                rule=25,
                remedy="Return one result for each input: batches differ when they are replayed",
            )


def _joined(rows: Sequence[Numbered], poisoned: dict[int, Poisoned]) -> Results:
    emits: list[Emit] = []
    ids: list[EventId] = []
    stamps: list[int] = []
    verdicts: list[tuple[int, Poisoned]] = []
    left = iter(rows)
    for index in range(len(rows) + len(poisoned)):
        if index in poisoned:
            verdicts.append((len(emits), poisoned[index]))
            continue
        row = next(left)
        emits += row.emits
        ids += row.ids
        stamps += row.stamps
    return Results(Numbered(emits, ids, stamps), verdicts)
