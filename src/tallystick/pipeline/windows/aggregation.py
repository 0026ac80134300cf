"""An aggregation over windows as a step's function.

Owns: ``Aggregation``: which windows an event is in, their update, and their closing. Must not know: transactions,
files. Everything it remembers is in the store.

Entries of fixed windows: key ``w``, start, key; value: due time, stored value. Of sessions: key ``s``, key; value: due
time of the first that closes, and a list of start, last event and stored value of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from tallystick.errors import ConfigurationError
from tallystick.ids import deterministic_id
from tallystick.pipeline.context import Context, Emit
from tallystick.pipeline.state import Layers
from tallystick.pipeline.topics import Topic
from tallystick.pipeline.windows.shapes import Session
from tallystick.pipeline.windows.timeline import (
    Late,
    LateEvent,
    Timeline,
    TimeOf,
    event_time,
    sortable,
    stamped,
    timed,
    unsortable,
)
from tallystick.pipeline.windows.windows import AnyWindows, Window

Emits = Emit | Iterable[Emit] | None
Add = Callable[[Any, Any], Any]
"""``add(value, event)``: the new value of a window; ``value`` is None in a new one."""
Tell = Callable[[Window[Any, Any], Context], Emits]

CLOSE_AT_ONCE: Final = 1_000
"""Windows that one event closes; the next event of the partition goes on with those that are left."""

_FIXED: Final = b"w"
_SESSION: Final = b"s"


class _Span(msgspec.Struct, array_like=True):
    """A session as it is stored."""

    start: int
    last: int
    value: bytes


_SPANS: Final = msgspec.msgpack.Decoder(list[_Span])


class Aggregation:
    """Called with each event and its context, as a step's function is."""

    def __init__(
        self,
        step: str,
        windows: AnyWindows,
        add: Add,
        *,
        key: Callable[[Any], Any] | None,
        time: TimeOf | None,
        merge: Callable[[Any, Any], Any] | None,
        updated: Tell | None,
        closed: Tell | None,
    ) -> None:
        if updated is None and closed is None:
            raise ConfigurationError(
                f"step {step!r} aggregates and tells nobody", remedy="Give updated= or closed=, or both"
            )
        if isinstance(windows.shape, Session) and merge is None:
            raise ConfigurationError(
                f"step {step!r}: an event between two sessions makes one of them",
                remedy="Give merge=function(value, other), which makes one value of two",
            )
        self._step = step
        self._windows = windows
        self._add = add
        self._key = key
        self._time = time
        self._merge = merge
        self._updated = updated
        self._closed = closed
        self._timeline = Timeline(windows.max_jump_ms)

    def __call__(self, event: Any, context: Context) -> list[Emit]:
        layers = context.stores_of_step.layers(self._windows)
        time_ms = event_time(event, context, self._time)
        stream_time = self._timeline.advance(layers, time_ms)
        key = self._key(event) if self._key is not None else self._windows.decode_key(_record_key(context))
        if isinstance(self._windows.shape, Session):
            updated = self._add_to_session(layers, key, time_ms, stream_time, event)
        else:
            updated = self._add_to_windows(layers, key, time_ms, stream_time, event)
        emits: list[Emit] = []
        if not updated:
            emits += self._late(context, time_ms, stream_time)
        elif self._updated is not None:
            for window in updated:
                emits += stamped(_listed(self._updated(window, context)), time_ms)
        # Behind what the event itself emits, so that the ids of those are by their own places.
        for window in self._close(layers, stream_time):
            if self._closed is not None:
                told = stamped(_listed(self._closed(window, context)), window.end_ms - 1)
                emits += self._with_ids(window, told, context)
        return emits

    # -- an event

    def _add_to_windows(
        self, layers: Layers, key: Any, time_ms: int, stream_time: int, event: Any
    ) -> list[Window[Any, Any]]:
        windows, shape = self._windows, self._windows.shape
        if isinstance(shape, Session):
            return []
        raw_key, updated = windows.encode_key(key), []
        for start in shape.starts(time_ms):
            end = start + shape.size_ms
            if end + windows.grace_ms <= stream_time:
                continue
            entry = _FIXED + sortable(start) + raw_key
            stored = layers.get(entry)
            value = self._add(None if stored is None else windows.decode(stored[8:]), event)
            layers.set(entry, timed(end + windows.grace_ms, windows.encode(value)))
            updated.append(Window(key, start, end, value))
        return updated

    def _add_to_session(
        self, layers: Layers, key: Any, time_ms: int, stream_time: int, event: Any
    ) -> list[Window[Any, Any]]:
        windows, shape = self._windows, self._windows.shape
        if not isinstance(shape, Session) or self._merge is None:
            return []
        gap, entry = shape.gap_ms, _SESSION + windows.encode_key(key)
        stored = layers.get(entry)
        spans = [] if stored is None else _SPANS.decode(stored[8:])
        near = [
            one
            for one in spans
            if one.start - gap < time_ms < one.last + gap and one.last + gap + windows.grace_ms > stream_time
        ]
        start = min([time_ms, *(one.start for one in near)])
        last = max([time_ms, *(one.last for one in near)])
        if last + gap + windows.grace_ms <= stream_time:
            return []
        value: Any = None
        for one in near:
            other = windows.decode(one.value)
            value = other if value is None else self._merge(value, other)
        value = self._add(value, event)
        spans = [one for one in spans if one not in near]
        spans.append(_Span(start, last, windows.encode(value)))
        self._store_session(layers, entry, spans, gap)
        return [Window(key, start, last + gap, value)]

    def _store_session(self, layers: Layers, entry: bytes, spans: list[_Span], gap: int) -> None:
        if not spans:
            layers.set(entry, None)
            return
        spans.sort(key=lambda one: one.start)
        first_due = min(one.last for one in spans) + gap + self._windows.grace_ms
        layers.set(entry, timed(first_due, msgspec.msgpack.encode(spans)))

    def _late(self, context: Context, time_ms: int, stream_time: int) -> list[Emit]:
        late = self._windows.late
        if late is Late.DEAD_LETTER:
            raise LateEvent(f"its windows are closed: its time is {time_ms}, its partition is at {stream_time}")
        context.stores_of_step.count_late()
        if isinstance(late, Topic):
            record = context.record
            return [Emit(late.name, record.key, record.value, None, record.headers)]
        return []

    # -- closing

    def _close(self, layers: Layers, stream_time: int) -> Iterator[Window[Any, Any]]:
        windows = self._windows
        for entry, stored in layers.due(stream_time, CLOSE_AT_ONCE):
            if entry[:1] == _FIXED:
                layers.set(entry, None)
                start = unsortable(entry[1:9])
                shape = windows.shape
                size_ms = 0 if isinstance(shape, Session) else shape.size_ms
                yield Window(windows.decode_key(entry[9:]), start, start + size_ms, windows.decode(stored[8:]))
            else:
                yield from self._close_sessions(layers, entry, stored, stream_time)

    def _close_sessions(
        self, layers: Layers, entry: bytes, stored: bytes, stream_time: int
    ) -> Iterator[Window[Any, Any]]:
        windows, shape = self._windows, self._windows.shape
        if not isinstance(shape, Session):
            return
        gap, key = shape.gap_ms, windows.decode_key(entry[1:])
        spans = _SPANS.decode(stored[8:])
        over = [one for one in spans if one.last + gap + windows.grace_ms <= stream_time]
        self._store_session(layers, entry, [one for one in spans if one not in over], gap)
        for one in over:
            yield Window(key, one.start, one.last + gap, windows.decode(one.value))

    def _with_ids(self, window: Window[Any, Any], emits: list[Emit], context: Context) -> list[Emit]:
        """A window closes once, whichever event happens to close it: its outputs' ids are the window's."""
        place = (self._step, context.record.topic, self._windows.name, self._windows.encode_key(window.key))
        return [
            one
            if one.event_id is not None
            else msgspec.structs.replace(
                one, event_id=deterministic_id("tallystick.window", *place, window.start_ms, window.end_ms, ordinal)
            )
            for ordinal, one in enumerate(emits)
        ]


def _record_key(context: Context) -> bytes:
    key = context.key
    if key is None:
        raise ValueError("the record has no key to be aggregated by")
    return key


def _listed(returned: Emits) -> list[Emit]:
    if returned is None:
        return []
    return [returned] if isinstance(returned, Emit) else list(returned)
