"""The group coordinator: its parts put together, and what the server asks of it.

Owns: the assembly. Must not know: what a part does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tallystick.broker.groups.consumer.group import ConsumerGroup
from tallystick.broker.groups.expiry import GroupExpiry
from tallystick.broker.groups.records import GroupDeleted
from tallystick.broker.groups.requests.classic import ClassicGroups
from tallystick.broker.groups.requests.consumer import ConsumerGroups
from tallystick.broker.groups.requests.offsets import OffsetRequests
from tallystick.broker.groups.settings import DEFAULTS, GroupSettings
from tallystick.broker.groups.table import Group, GroupTable, not_written
from tallystick.broker.ports import Journal, JournalRecord, TopicCatalog
from tallystick.clock import Clock
from tallystick.wire.errors import ErrorCode


class GroupCoordinator:
    """All groups of the node: ``classic`` and ``consumer`` their members, ``offsets`` how far they have read."""

    def __init__(
        self, journal: Journal, topics: TopicCatalog, clock: Clock, settings: GroupSettings = DEFAULTS
    ) -> None:
        self._clock = clock
        self._table = GroupTable(journal, clock, settings)
        self._expiry = GroupExpiry(self._table, settings)
        self.classic = ClassicGroups(self._table, clock, settings)
        self.consumer = ConsumerGroups(self._table, topics, clock, settings)
        self.offsets = OffsetRequests(self._table, topics, clock, settings)

    def groups(self) -> tuple[Group, ...]:
        """Every group, to look at."""
        return tuple(self._table)

    def group(self, group_id: str) -> Group | None:
        return self._table.find(group_id)

    def leave(self, group_id: str, members: Sequence[tuple[str, str | None]]) -> tuple[ErrorCode, list[ErrorCode]]:
        """LeaveGroup, also for members of consumer groups: that is how a tool removes them."""
        found = self._table.find(group_id)
        if found is None or not isinstance(found.members, ConsumerGroup):
            return self.classic.leave(group_id, members)
        try:
            return ErrorCode.none, self.consumer.remove(found.members, members)
        except OSError as failure:
            return not_written(failure), []

    def delete(self, group_id: str) -> ErrorCode:
        """DeleteGroups for one group: without members, and without offsets under an open transaction (rule 22)."""
        group = self._table.find(group_id)
        if group is None:
            return ErrorCode.group_id_not_found
        if not group.members.is_empty or group.offsets.pending:
            return ErrorCode.non_empty_group
        try:
            self._table.write(GroupDeleted(group_id=group_id))
        except OSError as failure:
            return not_written(failure)
        return ErrorCode.none

    def complete_transaction(self, group_id: str, producer_id: int, *, commit: bool) -> None:
        """What the transaction coordinator asks for: see ``OffsetRequests.settle``."""
        self.offsets.settle(group_id, producer_id, commit=commit)

    def replay(self, record: JournalRecord) -> None:
        self._table.replay(record)

    def snapshot(self) -> Iterable[JournalRecord]:
        return self._table.snapshot()

    def finish_recovery(self) -> None:
        self.classic.start_sessions()
        self.consumer.start_sessions()

    def tick(self, now_ms: int) -> None:
        """Expire sessions and phases, on monotonic time, and offsets by the time of day."""
        self.classic.tick()
        self.consumer.tick()
        self._expiry.tick(now_ms=now_ms, monotonic_ms=self._clock.monotonic_ms())
