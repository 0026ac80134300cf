"""How much is at risk in attempts whose outcome is not known, and for how long.

Owns: the summary by provider, currency and state, and its rows. Pure. Must not know: SQL.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tallystick.boundary.effect_ledger.attempt import Attempt
from tallystick.boundary.effects import State


@dataclass(frozen=True, slots=True)
class Exposure:
    """The attempts of one provider, currency and state."""

    provider: str
    currency: str
    state: State
    attempts: int
    amount_minor: int
    oldest_ms: int
    """Age of the oldest, from its first send."""


def age_ms(attempt: Attempt, now_ms: int) -> int:
    """Since it was first sent; since it was asked for, if it never was."""
    began_ms = attempt.created_at_ms if attempt.first_sent_at_ms is None else attempt.first_sent_at_ms
    return max(0, now_ms - began_ms)


def exposures(attempts: Iterable[Attempt], *, now_ms: int) -> tuple[Exposure, ...]:
    """One row for each provider, currency and state that has attempts."""
    groups: dict[tuple[str, str, State], list[Attempt]] = {}
    for attempt in attempts:
        groups.setdefault((attempt.provider, attempt.currency, attempt.state), []).append(attempt)
    return tuple(
        Exposure(
            provider,
            currency,
            state,
            attempts=len(members),
            amount_minor=sum(member.amount_minor for member in members),
            oldest_ms=max(age_ms(member, now_ms) for member in members),
        )
        for (provider, currency, state), members in sorted(
            groups.items(), key=lambda item: (*item[0][:2], item[0][2].value)
        )
    )
