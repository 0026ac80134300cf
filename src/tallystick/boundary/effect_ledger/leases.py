"""Claiming attempts, and committing SENT before the first byte leaves.

Owns: leases and their fencing tokens (rule 30), the send window (rules 31 and 32). Must not know: outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Engine

from tallystick.boundary.database import reading
from tallystick.boundary.effect_ledger import statements
from tallystick.boundary.effect_ledger.attempt import Attempt, attempt_of
from tallystick.boundary.effects import Event
from tallystick.boundary.owner_epoch import next_epoch
from tallystick.boundary.provider import ProviderPolicy
from tallystick.clock import Clock

_TOKEN_COUNTER: Final = "tallystick.effect-token"  # noqa: S105  a counter's name


@dataclass(frozen=True, slots=True)
class Lease:
    """Whose attempts a dispatcher takes, how many at most, and for how long."""

    provider: str
    owner: str
    limit: int
    lease_ms: int


class Leases:
    """Takes attempts under a new fencing token; every later statement names the token."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def claim(self, lease: Lease) -> tuple[Attempt, ...]:
        """Attempts that may be sent now: new ones, claims that ran out unsent, unknown ones inside the window."""
        return self._take(Event.CLAIM, lease, {})

    def claim_unresolved(self, lease: Lease, *, quiet_ms: int) -> tuple[Attempt, ...]:
        """Attempts to look up: unknown ones past their window, and those that wait for their customer."""
        return self._take(Event.RESOLVE, lease, {"b_quiet_ms": quiet_ms})

    def mark_sent(self, attempts: Sequence[Attempt], *, policy: ProviderPolicy, lease_ms: int) -> tuple[Attempt, ...]:
        """Commit SENT, before the first byte leaves; returns those that may be sent, with their deadlines."""
        if not attempts:
            return ()
        now_ms = self._clock.now_ms()
        values = {
            "b_attempt_ids": [attempt.attempt_id for attempt in attempts],
            "b_token": attempts[0].fencing_token,
            "b_now_ms": now_ms,
            "b_window_ms": policy.window_ms,
            "b_resend_until_ms": now_ms + policy.sendable_ms,
            "b_lease_until_ms": now_ms + lease_ms,
        }
        with self._engine.begin() as connection:
            return tuple(
                attempt_of(connection, row) for row in connection.execute(statements.mark_sent(), values).mappings()
            )

    def _take(self, event: Event, lease: Lease, more: dict[str, int]) -> tuple[Attempt, ...]:
        """Take ``event`` with up to ``limit`` attempts that are due, oldest first, under one new fencing token."""
        now_ms = self._clock.now_ms()
        due = {"b_provider": lease.provider, "b_now_ms": now_ms, **more}
        with reading(self._engine) as connection:  # without a write lock, so that an idle dispatcher disturbs nobody
            if connection.execute(statements.is_due(event), due).scalar_one_or_none() is None:
                return ()
        with self._engine.begin() as connection:
            token = new_token(connection)
            connection.execute(statements.expire(), {"b_provider": lease.provider, "b_now_ms": now_ms})
            values = {
                **due,
                "b_limit": lease.limit,
                "b_token": token,
                "b_owner": lease.owner,
                "b_lease_until_ms": now_ms + lease.lease_ms,
            }
            return tuple(
                attempt_of(connection, row) for row in connection.execute(statements.lease(event), values).mappings()
            )


def new_token(connection: Connection) -> int:
    """A fencing token that is newer than every lease: who held one changes nothing any more."""
    return next_epoch(connection, _TOKEN_COUNTER)
