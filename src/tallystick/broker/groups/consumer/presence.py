"""What is known of a consumer group only while the process runs: who was heard when, and what it saw of the topics.

Owns: deadlines of sessions and of revocations. Must not know: what happens to a member whose time is over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tallystick.broker.groups.consumer.records import Member, MemberState


@dataclass(slots=True)
class Presence:
    """Times are monotonic. ``seen_version`` is the topics' version that the group last looked at."""

    seen_version: int = -1
    matched_version: dict[str, int] = field(default_factory=dict)
    """By regular expression."""
    _sessions: dict[str, int] = field(default_factory=dict)
    _revocations: dict[str, tuple[int, int]] = field(default_factory=dict)
    _earliest_ms: float = math.inf

    def heard(self, member: Member, *, now_ms: int, session_timeout_ms: int) -> None:
        """The member is alive; while it gives partitions up, its rebalance timeout runs, too."""
        self._sessions[member.member_id] = now_ms + session_timeout_ms
        if member.state is not MemberState.UNREVOKED_PARTITIONS:
            self._revocations.pop(member.member_id, None)
        elif self._revocations.get(member.member_id, (0, -1))[1] != member.member_epoch:
            self._revocations[member.member_id] = (now_ms + member.rebalance_timeout_ms, member.member_epoch)
        self._earliest_ms = min(self._earliest_ms, self._deadline_ms(member.member_id))

    def _deadline_ms(self, member_id: str) -> int:
        session_ms = self._sessions[member_id]
        revocation = self._revocations.get(member_id)
        return session_ms if revocation is None else min(session_ms, revocation[0])

    def away(self, member_id: str) -> None:
        """A static member said that it will be back: its session goes on, but it is not waited for."""
        self._revocations.pop(member_id, None)

    def forget(self, member_id: str) -> None:
        self._sessions.pop(member_id, None)
        self._revocations.pop(member_id, None)

    def due(self, now_ms: int) -> list[str]:
        """Members whose session or revocation is over; looks at all of them only when one may be."""
        if now_ms < self._earliest_ms:
            return []
        deadlines = {member_id: self._deadline_ms(member_id) for member_id in self._sessions}
        self._earliest_ms = min(deadlines.values(), default=math.inf)
        return [member_id for member_id, deadline_ms in deadlines.items() if now_ms >= deadline_ms]
