"""One attempt at an effect, as its row stands.

Owns: the value, the callback's type, the errors about it. Must not know: statements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.engine import RowMapping

from tallystick.boundary.effects import State
from tallystick.boundary.erasure.sealed import key_id_of_hash, seal
from tallystick.boundary.erasure.subject_keys import ERASED, key_by_id, opened
from tallystick.boundary.provider import Outcome
from tallystick.errors import TallystickError


class IntentConflict(TallystickError):
    """The intent id exists with another provider, operation, amount, currency or request (rule 27)."""


class ProviderMismatch(TallystickError):
    """The provider says that it captured something else than was asked: somebody has to look."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at an intent, as its row stands. Times in milliseconds since the epoch."""

    attempt_id: str
    intent_id: str
    attempt_number: int
    provider: str
    operation: str
    reference: str
    amount_minor: int
    currency: str
    provider_key: str
    request: bytes
    """The exact bytes to send; ``[erased]`` once the key that sealed them is destroyed."""
    request_hash: str
    state: State
    fencing_token: int
    times_sent: int
    first_sent_at_ms: int | None
    last_sent_at_ms: int | None
    resend_until_ms: int | None
    action_deadline_ms: int | None
    """Until when the customer may act; set once the provider has said that it waits for that."""
    provider_object_id: str | None
    captured_minor: int | None
    fee_minor: int | None
    outcome_code: str | None
    created_at_ms: int


OnOutcome = Callable[[Connection, Attempt, Outcome], None]
"""Called once for every committed change to SUCCEEDED, DECLINED, PENDING_ACTION or ABSENT_CONFIRMED, in the SQL
transaction of that change: postings and the outbox row go there (rule 34). Never called for UNKNOWN. ``attempt``
carries the new state. Raising rolls back the change; the attempt will be settled again."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one recording did: attempts by their new state, and those whose lease was lost meanwhile."""

    settled: tuple[Attempt, ...] = ()
    fenced: int = 0
    suspended: int = 0
    """Successes that came too late for their attempt, and are in suspense now (rule 35)."""


_FIELDS: Final = tuple(Attempt.__dataclass_fields__)


def attempt_of(connection: Connection, row: RowMapping) -> Attempt:
    """The row as a value, its request opened if it is sealed."""
    fields = {name: row[name] for name in _FIELDS}
    fields["state"] = State(fields["state"])
    fields["request"] = opened(connection, row["request"], place=request_place(row["attempt_id"]))
    return Attempt(**fields)


def request_place(attempt_id: str) -> str:
    """Where the request's bytes are sealed to."""
    return f"request {attempt_id}"


def response_place(attempt_id: str) -> str:
    """Where the last answer's bytes are sealed to."""
    return f"response {attempt_id}"


def sealed_as(connection: Connection, attempt: Attempt, raw: bytes | None, *, place: str) -> bytes | None:
    """Bytes about an attempt as they go into its row: sealed under the key that seals its request, if one does."""
    key_id = key_id_of_hash(attempt.request_hash)
    if key_id is None or not raw:
        return raw or None
    key = key_by_id(connection, key_id)
    return ERASED if key is None else seal(key, raw, place=place)


def check_success(attempt: Attempt, outcome: Outcome) -> None:
    """``ProviderMismatch`` unless the success is of what was asked."""
    asked = (attempt.amount_minor, attempt.currency.upper())
    told = (outcome.amount_minor, (outcome.currency or "").upper())
    if outcome.provider_object_id is None or asked != told:
        raise ProviderMismatch(
            f"attempt {attempt.attempt_id}: asked for {asked}, {attempt.provider} says it captured {told} "
            f"as {outcome.provider_object_id}"
        )
