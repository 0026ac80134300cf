"""Deduplication by event id within a span of event time, around a step's function.

Owns: ``Deduplication``. Must not know: transactions, files.

Entries: key ``e`` and the 16 bytes of the id; value: when it may be forgotten, and the time of the event. Entries are
forgotten in bursts, 64 for a span, so that most events need not look for old ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

from tallystick.pipeline.context import Context, Emit
from tallystick.pipeline.state import Store
from tallystick.pipeline.windows.shapes import milliseconds
from tallystick.pipeline.windows.timeline import LateEvent, Timeline, timed

Emits = Emit | Iterable[Emit] | None

FORGET_AT_ONCE: Final = 1_000
_BURSTS: Final = 64
_ENTRY: Final = b"e"


class SeenEvents(Store[bytes, bytes]):
    """Ids of events that were processed."""

    __slots__ = ()

    timed = True

    def __init__(self) -> None:
        super().__init__("deduplicate", key=bytes, value=bytes)


class Deduplication:
    """Calls the function for the first event of each id, and for no other."""

    def __init__(self, step: str, span: timedelta, function: Callable[[Any, Context], Emits]) -> None:
        self.store = SeenEvents()
        self._step = step
        self._span_ms = milliseconds(span, "deduplicate")
        self._burst_ms = max(1, self._span_ms // _BURSTS)
        self._function = function
        self._timeline = Timeline(None)

    def __call__(self, event: Any, context: Context) -> Emits:
        """``LateEvent`` for an event that is older than the span: whether it is the first is not known any more."""
        layers = context.stores_of_step.layers(self.store)
        time_ms = context.record.timestamp_ms
        stream_time = self._timeline.advance(layers, time_ms)
        if time_ms <= stream_time - self._span_ms:
            raise LateEvent(f"it is {stream_time - time_ms} ms old, and what was seen is kept for {self._span_ms} ms")
        entry = _ENTRY + bytes.fromhex(context.event_id.replace("-", ""))
        if layers.get(entry) is not None:
            context.stores_of_step.count_duplicate()
            return None
        forget_ms = time_ms + self._span_ms
        forget_ms += -forget_ms % self._burst_ms
        layers.set(entry, timed(forget_ms, b""))
        for old, _ in layers.due(stream_time, FORGET_AT_ONCE):
            layers.set(old, None)
        return self._function(event, context)
