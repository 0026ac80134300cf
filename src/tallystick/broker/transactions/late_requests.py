"""Requests that arrive late, on a connection that their producer gave up for a newer one (rule 15).

Owns: which connection of each transactional id is its newest. Must not know: what is asked, who is the owner.

A client retries over a new connection what it gave up on an old one. In transaction version 1 the old request, if it
arrives after all, may end the next transaction of the same epoch, or take its offsets back (KAFKA-17754). In version 2
the epoch has risen by then; offsets of one and the same transaction still come in their order only because of this.
"""

from __future__ import annotations

import enum


class Lane(enum.Enum):
    """A client talks to the transaction coordinator and to the group coordinator over a connection each."""

    COORDINATOR = "coordinator"
    OFFSETS = "offsets"


class LateRequests:
    """Connections are numbered in the order in which they were accepted."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, Lane], int] = {}

    def begin(self, transactional_id: str, connection_id: int | None) -> None:
        """A new owner: it may use any connection, this one to the coordinator."""
        self.forget(transactional_id)
        if connection_id is not None:
            self._newest[transactional_id, Lane.COORDINATOR] = connection_id

    def is_late(self, transactional_id: str, lane: Lane, connection_id: int | None) -> bool:
        """Whether the owner has sent requests of this kind over a newer connection; if not, this is its newest now."""
        if connection_id is None:
            return False
        newest = self._newest.get((transactional_id, lane), connection_id)
        self._newest[transactional_id, lane] = max(newest, connection_id)
        return connection_id < newest

    def forget(self, transactional_id: str) -> None:
        for lane in Lane:
            self._newest.pop((transactional_id, lane), None)
