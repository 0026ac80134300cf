"""What time takes from groups: offsets that nobody needs, and groups that have nothing left (KIP-211).

Owns: the decision and how often it is made. Must not know: requests.

Offsets under an open transaction never expire, nor does what they are about to replace (rule 22).
"""

from __future__ import annotations

from typing import Final

import structlog

from tallystick.broker.groups.offsets import TopicPartition
from tallystick.broker.groups.records import GroupDeleted, OffsetsDeleted
from tallystick.broker.groups.settings import GroupSettings
from tallystick.broker.groups.table import Group, GroupTable, not_written

MAX_IN_A_RECORD: Final = 10_000
"""Expired offsets. A topic has a name of up to 249 characters, and a journal record at most 16 MiB."""

log = structlog.get_logger(__name__)


def expired_offsets(group: Group, *, now_ms: int, retention_ms: int) -> tuple[TopicPartition, ...]:
    """The partitions whose committed offset is past its retention."""
    expired = []
    read = group.members.topics_read()
    for (topic, partition), offset in group.offsets.committed.items():
        since_ms = group.members.idle_since_ms(offset.committed_ms, is_read=topic in read)
        if since_ms is not None and now_ms - since_ms >= retention_ms and group.offsets.is_stable((topic, partition)):
            expired.append((topic, partition))
    return tuple(expired)


def is_spent(group: Group) -> bool:
    """Whether nothing would be lost with the group: no members, no offsets, none pending."""
    return group.members.is_empty and not group.offsets.committed and not group.offsets.pending


class GroupExpiry:
    """Looks at every group each ``offsets.retention.check.interval.ms``."""

    def __init__(self, table: GroupTable, settings: GroupSettings) -> None:
        self._table = table
        self._settings = settings
        self._next_check_ms: int | None = None

    def tick(self, *, now_ms: int, monotonic_ms: int) -> None:
        """Remove what is past its time, if it is time to look. A full disk: later."""
        every_ms = self._settings.offsets_retention_check_interval_ms
        if self._next_check_ms is None:
            self._next_check_ms = monotonic_ms + every_ms
        if monotonic_ms < self._next_check_ms:
            return
        self._next_check_ms = monotonic_ms + every_ms
        try:
            for group in self._table:
                self._look_at(group, now_ms)
        except OSError as failure:
            not_written(failure)

    def _look_at(self, group: Group, now_ms: int) -> None:
        expired = expired_offsets(group, now_ms=now_ms, retention_ms=self._settings.offsets_retention_ms)
        if expired:
            log.info("committed offsets expired", group=group.group_id, count=len(expired))
        for start in range(0, len(expired), MAX_IN_A_RECORD):
            portion = expired[start : start + MAX_IN_A_RECORD]
            self._table.write(OffsetsDeleted(group_id=group.group_id, partitions=portion))
        if is_spent(group):
            log.info("an empty group without offsets is removed", group=group.group_id)
            self._table.write(GroupDeleted(group_id=group.group_id))
