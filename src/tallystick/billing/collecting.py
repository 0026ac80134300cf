"""The SQL effect that keeps rated items: each once, whatever the topic repeats.

Owns: writing ``rated_item``. Must not know: the inbox, which decides what is new before this is called.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, insert

from tallystick.billing.events import USAGE_RATED, UnusableRecord, UsageRated
from tallystick.billing.tables import rated_item
from tallystick.pipeline.records import Output, Record


class CollectRatedItems:
    """A batch handler: rows are gathered for each record and written in one statement before the commit."""

    def __init__(self) -> None:
        self._items: list[UsageRated] = []

    def begin_batch(self, connection: Connection, records: Sequence[Record]) -> None:  # noqa: ARG002  the port's
        """Forget what a batch that failed left behind."""
        self._items.clear()

    def __call__(self, connection: Connection, record: Record) -> tuple[Output, ...]:  # noqa: ARG002  the port's
        item = USAGE_RATED.decode(record.value)
        if item.rated_item_id != record.event_id:
            raise UnusableRecord(f"usage.rated: event {record.event_id} holds rated item {item.rated_item_id}")
        self._items.append(item)
        return ()

    def end_batch(self, connection: Connection, records: Sequence[Record]) -> None:  # noqa: ARG002  the port's
        """Write the rows. A row that exists is an error: the inbox let an id pass twice."""
        rows = [_row(item) for item in self._items]
        self._items.clear()
        if rows:
            connection.execute(insert(rated_item), rows)


def _row(item: UsageRated) -> dict[str, object]:
    fields = msgspec.structs.asdict(item)
    fields["id"] = fields.pop("rated_item_id")
    return fields
