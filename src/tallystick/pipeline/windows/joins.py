"""Two topics joined event by event, within a span of event time.

Owns: ``Join``: what waits for the other side, and until when. Must not know: transactions, files.

Each side waits in a timed store of its own, one entry for a key: due time, and a list of events. An event waits until
the *other* source's stream time says that nothing can come for it any more; so a source that is read later than the
other, after a start or a standstill, loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import msgspec

from tallystick.errors import ConfigurationError
from tallystick.ids import EventId, derived_id
from tallystick.pipeline.context import Context, Emit
from tallystick.pipeline.state import Layers, Store
from tallystick.pipeline.topics import Topic
from tallystick.pipeline.windows.shapes import milliseconds
from tallystick.pipeline.windows.timeline import LateEvent, Timeline, TimeOf, event_time, stamped, timed

Emits = Emit | Iterable[Emit] | None
JoinFunction = Callable[[Any, Any, Context], Emits]
"""``function(left, right, context)``; ``right`` is None for a left event that found none, in a left join."""

EXPIRE_AT_ONCE: Final = 1_000
"""Keys whose events one event lets go of; the next goes on with those that are left."""

MAX_WAITING: Final = 10_000
"""Events of one key that wait on one side. One more fails, and its step's policy says what becomes of it."""

_ENTRY: Final = b"j"


class JoinSide(Store[bytes, bytes]):
    """Events of one source that wait for the other."""

    __slots__ = ("time", "topic")

    timed = True

    def __init__(self, name: str, topic: Topic[Any], time: TimeOf | None) -> None:
        super().__init__(name, key=bytes, value=bytes)
        self.topic = topic
        self.time = time


class _Waiting(msgspec.Struct, array_like=True):
    """An event as it is stored."""

    time_ms: int
    event_id: EventId
    value: bytes
    matched: bool


_WAITING: Final = msgspec.msgpack.Decoder(list[_Waiting])


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinSpan:
    """Which times may meet: left and right are at most ``within`` apart; ``grace`` is how late an event may come."""

    within_ms: int
    grace_ms: int

    @classmethod
    def of(cls, within: timedelta, grace: timedelta) -> JoinSpan:
        return cls(within_ms=milliseconds(within, "within", least=0), grace_ms=milliseconds(grace, "grace", least=0))

    @property
    def waits_ms(self) -> int:
        """An event of time t waits while the other source's time is t + this, or less."""
        return self.within_ms + self.grace_ms


class Join:
    """Called with each event of both sources and its context, as a step's function is."""

    def __init__(
        self, step: str, left: JoinSide, right: JoinSide, span: JoinSpan, function: JoinFunction, *, keep_left: bool
    ) -> None:
        """``keep_left``: a left event that found no right one is told alone, once none can come any more."""
        if left.topic.name == right.topic.name:
            raise ConfigurationError(f"step {step!r} joins topic {left.topic.name!r} with itself")
        self._step = step
        self._left = left
        self._right = right
        self._span = span
        self._function = function
        self._keep_left = keep_left
        self._timeline = Timeline(None)

    def __call__(self, event: Any, context: Context) -> list[Emit]:
        record = context.record
        if record.key is None:
            raise ValueError(f"a record of {record.topic!r} has no key to be joined by")
        is_left = record.topic == self._left.topic.name
        side, other = (self._left, self._right) if is_left else (self._right, self._left)
        mine, others = context.stores_of_step.layers(side), context.stores_of_step.layers(other)
        time_ms = event_time(event, context, side.time)
        stream_time = self._timeline.advance(mine, time_ms)
        if time_ms < stream_time - self._span.grace_ms:
            raise LateEvent(f"its time is {time_ms}, its source is at {stream_time} in this partition")
        emits, matched = self._matches(event, context, others, time_ms, is_left=is_left)
        waiting = _Waiting(time_ms, context.event_id, record.value or b"", matched)
        if not self._is_over(waiting, self._timeline.read(others)):
            self._wait(mine, record.key, waiting)
        elif is_left:
            emits += self._alone(waiting, context)
        for entry, stored in others.due(stream_time, EXPIRE_AT_ONCE):
            emits += self._let_go(others, entry, stored, stream_time, context, are_left=not is_left)
        return emits

    def _matches(
        self, event: Any, context: Context, others: Layers, time_ms: int, *, is_left: bool
    ) -> tuple[list[Emit], bool]:
        entry = _ENTRY + (context.key or b"")
        stored = others.get(entry)
        if stored is None:
            return [], False
        waiting = _WAITING.decode(stored[8:])
        found = [one for one in waiting if abs(one.time_ms - time_ms) <= self._span.within_ms]
        emits: list[Emit] = []
        topic = self._right.topic if is_left else self._left.topic
        for one in found:
            other = topic.decode(one.value)
            pair = (event, other) if is_left else (other, event)
            emits += stamped(_listed(self._function(*pair, context)), max(time_ms, one.time_ms))
        if any(not one.matched for one in found):
            for one in found:
                one.matched = True
            others.set(entry, stored[:8] + msgspec.msgpack.encode(waiting))
        return emits, bool(found)

    def _wait(self, mine: Layers, key: bytes, event: _Waiting) -> None:
        entry = _ENTRY + key
        stored = mine.get(entry)
        waiting = [] if stored is None else _WAITING.decode(stored[8:])
        if len(waiting) >= MAX_WAITING:
            raise ValueError(f"{MAX_WAITING} events of one key wait for the other side already")
        self._store(mine, entry, [*waiting, event])

    def _let_go(
        self, others: Layers, entry: bytes, stored: bytes, time_ms: int, context: Context, *, are_left: bool
    ) -> list[Emit]:
        """Of one key of the other side: the events for which nothing of this side can come any more."""
        waiting = _WAITING.decode(stored[8:])
        over = [one for one in waiting if self._is_over(one, time_ms)]
        self._store(others, entry, [one for one in waiting if one not in over])
        return [emit for one in over if are_left for emit in self._alone(one, context)]

    def _is_over(self, event: _Waiting, other_time: int | None) -> bool:
        """Whether no event of the other side can meet it any more, unless it is late."""
        return other_time is not None and event.time_ms + self._span.waits_ms < other_time

    def _alone(self, event: _Waiting, context: Context) -> list[Emit]:
        """What a left event makes that met nothing. Its ids are its own, whichever event shows that it stays alone."""
        if event.matched or not self._keep_left:
            return []
        told = stamped(_listed(self._function(self._left.topic.decode(event.value), None, context)), event.time_ms)
        return [
            one
            if one.event_id is not None
            else msgspec.structs.replace(one, event_id=derived_id(event.event_id, f"{self._step}.alone", ordinal))
            for ordinal, one in enumerate(told)
        ]

    def _store(self, layers: Layers, entry: bytes, waiting: Sequence[_Waiting]) -> None:
        if not waiting:
            layers.set(entry, None)
            return
        due_ms = min(one.time_ms for one in waiting) + self._span.waits_ms + 1
        layers.set(entry, timed(due_ms, msgspec.msgpack.encode(waiting)))


def _listed(returned: Emits) -> list[Emit]:
    if returned is None:
        return []
    return [returned] if isinstance(returned, Emit) else list(returned)
