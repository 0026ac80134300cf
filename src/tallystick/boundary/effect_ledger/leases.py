"""Claiming attempts, and committing SENT before the first byte leaves.

Owns: leases and their fencing tokens (rule 30), the send window (rules 31 and 32). Must not know: outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, Engine, and_, func, or_, select, update

from tallystick.boundary import schema
from tallystick.boundary.database import reading
from tallystick.boundary.effect_ledger import statements
from tallystick.boundary.effect_ledger.attempt import Attempt, attempt_of
from tallystick.boundary.effects import Event, sources
from tallystick.boundary.owner_epoch import next_epoch
from tallystick.boundary.provider import ProviderPolicy
from tallystick.clock import Clock

_TOKEN_COUNTER: Final = "tallystick.effect-token"  # noqa: S105  a counter's name
_a = schema.effect_attempt.c


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
        now_ms = self._clock.now_ms()
        return self._take(Event.CLAIM, statements.claimable(now_ms), lease, now_ms)

    def claim_unresolved(self, lease: Lease, *, quiet_ms: int) -> tuple[Attempt, ...]:
        """Attempts to look up: unknown ones past their window, and those that wait for their customer."""
        now_ms = self._clock.now_ms()
        return self._take(Event.RESOLVE, statements.resolvable(now_ms, quiet_ms), lease, now_ms)

    def mark_sent(self, attempts: Sequence[Attempt], *, policy: ProviderPolicy, lease_ms: int) -> tuple[Attempt, ...]:
        """Commit SENT, before the first byte leaves; returns those that may be sent, with their deadlines."""
        if not attempts:
            return ()
        now_ms = self._clock.now_ms()
        with self._engine.begin() as connection:
            rows = connection.execute(
                update(schema.effect_attempt)
                .where(
                    _a.attempt_id.in_([attempt.attempt_id for attempt in attempts]),
                    _a.fencing_token == attempts[0].fencing_token,
                    _a.state.in_(statements.names(sources(Event.SEND))),
                    or_(_a.resend_until_ms.is_(None), _a.resend_until_ms > now_ms),
                )
                .values(
                    state=statements.next_state(Event.SEND),
                    times_sent=_a.times_sent + 1,
                    first_sent_at_ms=func.coalesce(_a.first_sent_at_ms, now_ms),
                    last_sent_at_ms=now_ms,
                    window_ms=func.coalesce(_a.window_ms, policy.window_ms),
                    resend_until_ms=func.coalesce(_a.resend_until_ms, now_ms + policy.window_ms - policy.margin_ms),
                    lease_until_ms=now_ms + lease_ms,
                )
                .returning(schema.effect_attempt)
            ).mappings()
            return tuple(attempt_of(row) for row in rows)

    def _take(self, event: Event, due: ColumnElement[bool], lease: Lease, now_ms: int) -> tuple[Attempt, ...]:
        """Take ``event`` with up to ``limit`` attempts that are ``due``, oldest first."""
        if not self._is_due(lease.provider, now_ms, due):
            return ()
        with self._engine.begin() as connection:
            token = next_epoch(connection, _TOKEN_COUNTER)
            self._expire(connection, lease.provider, now_ms)
            oldest = (
                select(_a.attempt_id)
                .where(_a.provider == lease.provider, due)
                .order_by(_a.created_at_ms, _a.attempt_id)
                .limit(lease.limit)
                .with_for_update(skip_locked=True)
            )
            rows = connection.execute(
                update(schema.effect_attempt)
                .where(_a.attempt_id.in_(oldest.scalar_subquery()))
                .values(
                    state=statements.next_state(event),
                    fencing_token=token,
                    lease_owner=lease.owner,
                    lease_until_ms=now_ms + lease.lease_ms,
                )
                .returning(schema.effect_attempt)
            ).mappings()
            return tuple(attempt_of(row) for row in rows)

    def _is_due(self, provider: str, now_ms: int, wanted: ColumnElement[bool]) -> bool:
        """A look without a write lock, so that an idle dispatcher disturbs nobody."""
        expired = and_(_a.state.in_(statements.names(sources(Event.EXPIRE))), _a.lease_until_ms <= now_ms)
        query = select(_a.attempt_id).where(_a.provider == provider, or_(wanted, expired)).limit(1)
        with reading(self._engine) as connection:
            return connection.execute(query).scalar_one_or_none() is not None

    def _expire(self, connection: Connection, provider: str, now_ms: int) -> None:
        connection.execute(
            update(schema.effect_attempt)
            .where(
                _a.provider == provider,
                _a.state.in_(statements.names(sources(Event.EXPIRE))),
                _a.lease_until_ms <= now_ms,
            )
            .values(state=statements.next_state(Event.EXPIRE), lease_owner=None, lease_until_ms=0, not_before_ms=now_ms)
        )


def new_token(connection: Connection) -> int:
    """A fencing token that is newer than every lease: who held one changes nothing any more."""
    return next_epoch(connection, _TOKEN_COUNTER)
