"""A topic as a table: its newest value for each key, at hand for a step that reads another topic.

Owns: ``Table``, ``TableChange`` and the function that keeps it. Must not know: transactions, files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import msgspec

from tallystick.errors import ConfigurationError
from tallystick.pipeline.context import Context, Emit
from tallystick.pipeline.state import K, Store, UnreadableState, V
from tallystick.pipeline.topics import DecodeError, Topic

Emits = Emit | Iterable[Emit] | None


class TableChange(msgspec.Struct, frozen=True):
    """An event of a table's topic: a value, or None for a record without one, which deletes."""

    value: Any


class TableTopic(Topic[Any]):
    """A table's topic as a source: a record without a value is an event as well."""

    __slots__ = ("_topic",)

    def __init__(self, topic: Topic[Any]) -> None:
        super().__init__(topic.name, bytes, topic.partitions)
        self._topic = topic
        self.decode_bytes = self.decode

    def decode(self, raw: bytes | None) -> TableChange:
        return TableChange(None if raw is None else self._topic.decode(raw))


class Table(Store[K, V]):
    """A store that holds the newest value of each key of a topic. Key and topic are co-partitioned with the source.

    The topic's records are inputs of the step like those of its source, and the change of the table is part of their
    transaction. ``context.state(table)`` reads it; nobody else may write it. ``key`` says how the topic's keys are
    read: ``str`` as UTF-8, ``bytes`` as they are.

    A step sees a table as far as it has read it: table and source go on side by side, in no order between them.
    """

    __slots__ = ("topic",)

    def __init__(self, name: str, topic: Topic[V], *, key: type[K]) -> None:
        if key not in (str, bytes):
            raise ConfigurationError(f"table {name!r}: keys of topics are str or bytes")
        super().__init__(name, key=key, value=cast("type[V]", bytes))
        self.topic = topic

    def encode(self, value: V) -> bytes:
        return self.topic.encode(value)

    def decode(self, raw: bytes) -> V:
        """As the topic's records are read."""
        try:
            return self.topic.decode(raw)
        except DecodeError as error:
            raise UnreadableState(
                f"table {self.name!r} holds a value that its topic's type cannot read: {error}",
                remedy="Let the type read what was written before, or rename the table, which is built anew then "
                "from what the topic writes from now on",
            ) from error


class WithTables:
    """Keeps the tables, and calls the step's function for events of the other sources."""

    def __init__(self, tables: Sequence[Table[Any, Any]], function: Callable[[Any, Context], Emits]) -> None:
        self._tables = {table.topic.name: table for table in tables}
        self._function = function

    def __call__(self, event: Any, context: Context) -> Emits:
        if not isinstance(event, TableChange):
            return self._function(event, context)
        record = context.record
        table = self._tables[record.topic]
        if record.key is None:
            raise ValueError(f"a record of table {table.name!r} has no key")
        table.decode_key(record.key)  # a key that cannot be read is the record's fault
        context.stores_of_step.layers(table).set(record.key, record.value)
        return None
