"""What is persisted of a consumer group, which is also what it consists of.

Owns: the record and the member in it. Must not know: who decides, how a journal stores.
"""

from __future__ import annotations

import enum
import uuid

import msgspec

from tallystick.broker.ports import JournalRecord

Target = dict[uuid.UUID, tuple[int, ...]]
"""The partitions, by topic id, that a member is to have."""

Owned = dict[uuid.UUID, dict[int, int]]
"""The partitions, by topic id, that a member has, each with the epoch in which it was assigned (KIP-1251)."""

JOINING_EPOCH = 0
LEAVING_EPOCH = -1
STATIC_LEAVING_EPOCH = -2
"""A static member says that it will be back; it keeps this epoch until then."""


class MemberState(enum.Enum):
    """How far a member is on the way to its target."""

    STABLE = "stable"
    UNREVOKED_PARTITIONS = "unrevoked"
    """It was told to give partitions up, and has not said yet that it did."""
    UNRELEASED_PARTITIONS = "unreleased"
    """It waits for partitions that others have not given up yet."""


class Member(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One member: who it is, what it subscribes to, and what it has."""

    member_id: str
    instance_id: str | None = None
    rack_id: str | None = None
    client_id: str = ""
    client_host: str = ""
    rebalance_timeout_ms: int = -1
    topics: tuple[str, ...] = ()
    regex: str = ""
    assignor: str | None = None
    state: MemberState = MemberState.STABLE
    member_epoch: int = JOINING_EPOCH
    previous_member_epoch: int = -1
    assigned: Owned = msgspec.field(default_factory=dict)
    pending_revocation: Owned = msgspec.field(default_factory=dict)

    def is_reconciled(self, target_epoch: int) -> bool:
        return self.state is MemberState.STABLE and self.member_epoch == target_epoch

    def assignment_epoch(self, topic_id: uuid.UUID, partition: int) -> int | None:
        """The epoch in which the member got the partition; None if it does not have it."""
        for owned in (self.assigned, self.pending_revocation):
            if partition in owned.get(topic_id, {}):
                return owned[topic_id][partition]
        return None


class ConsumerGroupChanged(JournalRecord, frozen=True, kw_only=True, omit_defaults=True, tag="consumer-group-changed"):
    """A change of a consumer group, whole: what it is from now on.

    ``removed`` is applied first, then ``members`` and ``targets`` come in place of what had their ids. ``resolved``
    are the topics that regular expressions match; those that no member has any more are dropped.
    """

    group_id: str
    group_epoch: int
    assignment_epoch: int
    metadata_hash: int
    assignor: str = ""
    removed: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    targets: dict[str, Target] = msgspec.field(default_factory=dict)
    resolved: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
