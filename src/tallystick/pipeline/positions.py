"""What a strategy asks about the positions of its partitions, whoever polls for them.

Owns: the port ``Positions``. Must not know: threads, librdkafka. ``Assignment`` answers for a strategy that runs in the
polling thread, ``LanePositions`` for one in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tallystick.pipeline.kafka_client import Membership, Partition


class Positions(Protocol):
    """The membership a transaction runs under, the notes its offsets carry, and the way back."""

    @property
    def notes(self) -> Mapping[str, str]:
        """Metadata for offset commits, by topic."""
        ...

    def current_membership(self) -> Membership:
        """The membership of the assignment; ``AbortableError`` if the group has moved on (rules 1 and 2)."""
        ...

    def is_member(self, member_id: str) -> bool:
        """Whether this is our own member id in the group; ``RetriableError`` if nobody can say at the moment."""
        ...

    def refresh_notes(self) -> None:
        """Learn what the notes may claim; free when there is nothing to learn."""
        ...

    def rewind(self) -> None:
        """Go back to the committed offsets; what was fetched is dropped (rule 8)."""
        ...

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit outside a transaction."""
        ...

    def news(self) -> tuple[str, ...]:
        """Changes of the assignment that the strategy has not been told of yet, oldest first."""
        ...
