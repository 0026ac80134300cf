"""What a migration proved.

Owns: ``Certificate`` and its parts. Must not know: how it was found out.
"""

from __future__ import annotations

import msgspec

from tallystick.ids import EventId


class PartitionMatch(msgspec.Struct, frozen=True, kw_only=True):
    """A partition that is the same on both sides.

    ``digest`` is BLAKE2b, 16 bytes in hexadecimal, over each record's event id, time stamp, key, value and headers, in
    order; it was computed for each side from what that side's readers under ``read_committed`` get.
    """

    topic: str
    partition: int
    records: int
    digest: str


class GroupMove(msgspec.Struct, frozen=True, kw_only=True):
    """Where a group goes on. ``next_event_id`` is that of the record there, on both sides; None at the end."""

    group: str
    topic: str
    partition: int
    from_offset: int
    to_offset: int
    next_event_id: EventId | None


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """Each record is on both sides once, in the same order; each group's next record is the same."""

    from_cluster: str
    to_cluster: str
    made_at_ms: int
    partitions: tuple[PartitionMatch, ...]
    groups: tuple[GroupMove, ...]

    @property
    def records(self) -> int:
        return sum(match.records for match in self.partitions)

    def encode(self) -> bytes:
        """As JSON, for a person and for a program."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"
