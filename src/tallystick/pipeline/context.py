"""What a step's function sees beside its event, and how it says what to write.

Owns: ``Context``, ``BatchContext``, ``emit`` and ``emit_each``. Must not know: Kafka's client, transactions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from tallystick.errors import ConfigurationError
from tallystick.ids import EventId, derived_id
from tallystick.pipeline.polled import Polled
from tallystick.pipeline.records import Emit, Headers, Record
from tallystick.pipeline.state import BatchState, PartitionState, StateView, Store
from tallystick.pipeline.topics import Topic

__all__ = ["BatchContext", "Context", "Emit", "Emits", "emit", "emit_each"]

U = TypeVar("U")
K = TypeVar("K")
V = TypeVar("V")

Key = str | bytes | None


def emit(
    topic: Topic[U],
    value: U | None,
    *,
    key: Key = None,
    event_id: EventId | None = None,
    headers: Headers = (),
    partition: int | None = None,
    timestamp_ms: int | None = None,
) -> Emit:
    """A record for ``topic``; yield or return it from a step.

    ``key`` as text is encoded as UTF-8; records of one key keep their order. ``value`` None writes a tombstone.
    ``event_id`` is for outputs that are facts of their own with a business id; leave it out otherwise. Without
    ``partition`` the producer's ``partitioner`` decides by the key. Without ``timestamp_ms`` the record has that of its
    input.
    """
    raw_key = key.encode() if isinstance(key, str) else key
    raw_value = None if value is None else topic.encode(value)
    return Emit(topic.name, raw_key, raw_value, event_id, headers, partition, timestamp_ms)


class Emits(msgspec.Struct, frozen=True, gc=False):
    """One record for each input of a batch, encoded; see ``emit_each``."""

    topic: str
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]


def emit_each(topic: Topic[U], values: Sequence[U], *, keys: Sequence[Key] | None = None) -> Emits:
    """One record for ``topic`` for each input of a batch, in their order; return it from a batch function.

    The quickest way to write: no object is made for each record. ``keys`` are one for each value, or none at all.
    """
    if keys is None:
        raw_keys: Sequence[bytes | None] = [None] * len(values)
    else:
        raw_keys = [key.encode() if isinstance(key, str) else key for key in keys]
    if len(raw_keys) != len(values):
        raise ValueError(f"{len(values)} values with {len(raw_keys)} keys")
    return Emits(topic.name, raw_keys, list(map(topic.encode, values)))


class Context(msgspec.Struct, frozen=True, gc=False):
    """The record behind the event, and the step that handles it. For a test, make one with ``Context.of``."""

    records: Polled
    index: int
    step: str
    stores: PartitionState | None = None
    """The state of the record's partition, in a step that declares any."""

    def state(self, store: Store[K, V]) -> StateView[K, V]:
        """A store that the step declares with ``state=[...]``, as a mapping; ``ConfigurationError`` for another."""
        try:
            return self.stores.views[store]  # type: ignore[union-attr]  # each record comes by here
        except (AttributeError, KeyError):
            return self.stores_of_step.view(store)

    @property
    def stores_of_step(self) -> PartitionState:
        """``stores``, which must be there."""
        if self.stores is None:
            raise ConfigurationError(f"the step {self.step!r} declares no state", remedy="Name it in state=[...]")
        return self.stores

    @classmethod
    def of(cls, record: Record, step: str) -> Context:
        return cls(Polled.of([record]), 0, step)

    @property
    def record(self) -> Record:
        return self.records.record(self.index)

    @property
    def event_id(self) -> EventId:
        """The id of this input: the same in every replay, on every worker."""
        return self.records.event_ids[self.index]

    @property
    def key(self) -> bytes | None:
        return self.records.keys[self.index]

    @property
    def headers(self) -> Headers:
        return self.records.headers(self.index)

    @property
    def timestamp_ms(self) -> int:
        """The record's, in milliseconds since 1970."""
        return self.records.timestamp_ms(self.index)

    @property
    def topic(self) -> str:
        return self.record.topic

    @property
    def partition(self) -> int:
        return self.record.partition

    @property
    def offset(self) -> int:
        return self.record.offset

    def header(self, name: str) -> bytes | None:
        """The last value under that name, None if there is none."""
        return dict(self.headers).get(name)

    def derived_id(self, ordinal: int) -> EventId:
        """The id that this step's ``ordinal``-th output (from 0) gets unless it is given one."""
        return derived_id(self.event_id, self.step, ordinal)


class BatchContext(msgspec.Struct, frozen=True, gc=False):
    """The records behind a batch of events, one for each event, and the step that handles them.

    ``context[i]`` is what a function for single events would get with the i-th of them, its state included: ask it for
    the state that this event reads or changes.
    """

    records: Polled
    step: str
    stores: BatchState | None = None

    @property
    def event_ids(self) -> Sequence[EventId]:
        """The ids of these inputs: the same in every replay, on every worker, in whatever batches."""
        return self.records.event_ids

    @property
    def keys(self) -> Sequence[bytes | None]:
        return self.records.keys

    def derived_ids(self, ordinal: int = 0) -> Sequence[EventId]:
        """The id that the ``ordinal``-th output (from 0) of each input gets unless it is given one."""
        return self.records.derived_ids(self.step, ordinal)

    def __getitem__(self, index: int) -> Context:
        """What a function for single events would get."""
        at = range(len(self.records))[index]
        return Context(self.records, at, self.step, None if self.stores is None else self.stores.of(at))

    def __len__(self) -> int:
        return len(self.records)
