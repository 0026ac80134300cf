"""What a step's function sees beside its event, and what it gives back.

Owns: ``Context``, ``Emit`` and ``emit``. Must not know: Kafka's client, transactions.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from tallystick.errors import ConfigurationError
from tallystick.ids import EventId, derived_id
from tallystick.pipeline.records import Headers, Record
from tallystick.pipeline.state import PartitionState, StateView, Store
from tallystick.pipeline.topics import Topic

U = TypeVar("U")
K = TypeVar("K")
V = TypeVar("V")


class Emit(msgspec.Struct, frozen=True, gc=False):
    """One record that a step wants written, encoded. Without ``event_id`` it gets the derived id of its place."""

    topic: str
    key: bytes | None
    value: bytes | None
    event_id: EventId | None = None
    headers: Headers = ()
    partition: int | None = None


def emit(
    topic: Topic[U],
    value: U | None,
    *,
    key: str | bytes | None = None,
    event_id: EventId | None = None,
    headers: Headers = (),
    partition: int | None = None,
) -> Emit:
    """A record for ``topic``; yield or return it from a step.

    ``key`` as text is encoded as UTF-8; records of one key keep their order. ``value`` None writes a tombstone.
    ``event_id`` is for outputs that are facts of their own with a business id; leave it out otherwise.
    """
    raw_key = key.encode() if isinstance(key, str) else key
    raw_value = None if value is None else topic.encode(value)
    return Emit(topic.name, raw_key, raw_value, event_id, headers, partition)


class Context(msgspec.Struct, frozen=True, gc=False):
    """The record behind the event, and the step that handles it."""

    record: Record
    step: str
    stores: PartitionState | None = None
    """The state of the record's partition, in a step that declares any."""

    def state(self, store: Store[K, V]) -> StateView[K, V]:
        """A store that the step declares with ``state=[...]``, as a mapping; ``ConfigurationError`` for another."""
        if self.stores is None:
            raise ConfigurationError(f"the step {self.step!r} declares no state", remedy="Name it in state=[...]")
        return self.stores.view(store)

    @property
    def event_id(self) -> EventId:
        """The id of this input: the same in every replay, on every worker."""
        return self.record.event_id

    @property
    def key(self) -> bytes | None:
        return self.record.key

    def derived_id(self, ordinal: int) -> EventId:
        """The id that this step's ``ordinal``-th output (from 0) gets unless it is given one."""
        return derived_id(self.record.event_id, self.step, ordinal)
