"""What a consumer group takes in and gives out.

Owns: these value types. Must not know: decisions, encoding, sockets.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from tallystick.broker.groups.consumer.records import ConsumerGroupChanged, Target

OwnedByClient = dict[uuid.UUID, frozenset[int]]
"""The partitions that a member says it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """ConsumerGroupHeartbeat. None: not said, as it was before."""

    member_id: str
    member_epoch: int
    client_id: str = ""
    client_host: str = ""
    instance_id: str | None = None
    rack_id: str | None = None
    rebalance_timeout_ms: int | None = None
    topics: tuple[str, ...] | None = None
    regex: str | None = None
    assignor: str | None = None
    owned: OwnedByClient | None = None

    @property
    def is_full(self) -> bool:
        """Whether it says everything, as a member does that joins or is unsure."""
        return (
            self.rebalance_timeout_ms is not None
            and (self.topics is not None or self.regex is not None)
            and self.owned is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer to a heartbeat, true once ``record`` is written. ``assignment`` None: as the member knows it."""

    member_id: str
    member_epoch: int
    assignment: Target | None = None
    record: ConsumerGroupChanged | None = None
