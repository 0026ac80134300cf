"""The life of one attempt at an effect outside SQL and Kafka, as a table.

Owns: the states, the events and the transitions (rules 29 to 33). Must not know: SQL, HTTP, time. The statements of
``effect_ledger`` are built from this table, so that SQL can only do what stands here.

    CREATED -> CLAIMED -> SENT -> SUCCEEDED | DECLINED | PENDING_ACTION | UNKNOWN
    UNKNOWN -> SENT                     the same bytes under the same key, inside the provider's window
    UNKNOWN -> RESOLVING -> SUCCEEDED | DECLINED | PENDING_ACTION | ABSENT_CONFIRMED | UNKNOWN
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from tallystick.errors import IllegalTransition


class State(Enum):
    """Where an attempt stands. Its value is what the SQL column holds (frozen)."""

    CREATED = "CREATED"
    """The row is committed; nobody works on it."""
    CLAIMED = "CLAIMED"
    """A dispatcher holds the lease; not one byte has left."""
    SENT = "SENT"
    """Bytes may have left. Whatever happens now, "nothing happened" is no longer a guess one may make."""
    SUCCEEDED = "SUCCEEDED"
    DECLINED = "DECLINED"
    PENDING_ACTION = "PENDING_ACTION"
    """The provider waits for the customer."""
    UNKNOWN = "UNKNOWN"
    """Timeout, lost connection, crash after SENT, or a 5xx: it may have happened (rule 31)."""
    RESOLVING = "RESOLVING"
    """A dispatcher holds the lease and asks the provider; it never sends (rule 32)."""
    ABSENT_CONFIRMED = "ABSENT_CONFIRMED"
    """A complete listing after a quiet time does not hold it: it did not happen."""


class Event(Enum):
    """What happens to an attempt."""

    CLAIM = "claim"
    RELEASE = "release"
    SEND = "send"
    SUCCEED = "succeed"
    DECLINE = "decline"
    REQUIRE_ACTION = "require action"
    LOSE = "lose"
    """The answer is lost, says nothing, or says "later"."""
    EXPIRE = "expire"
    """The lease ran out under a dispatcher that died or stalled."""
    RESOLVE = "resolve"
    CONFIRM_ABSENT = "confirm absent"


TERMINAL_STATES: Final = frozenset({State.SUCCEEDED, State.DECLINED, State.ABSENT_CONFIRMED})
OPEN_STATES: Final = frozenset(State) - TERMINAL_STATES
"""At most one attempt of an intent is in one of these (rule 33)."""

TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.CREATED, Event.CLAIM): State.CLAIMED,
    (State.CLAIMED, Event.CLAIM): State.CLAIMED,
    (State.CLAIMED, Event.RELEASE): State.CREATED,
    (State.CLAIMED, Event.SEND): State.SENT,
    (State.SENT, Event.SUCCEED): State.SUCCEEDED,
    (State.SENT, Event.DECLINE): State.DECLINED,
    (State.SENT, Event.REQUIRE_ACTION): State.PENDING_ACTION,
    (State.SENT, Event.LOSE): State.UNKNOWN,
    (State.SENT, Event.EXPIRE): State.UNKNOWN,
    (State.UNKNOWN, Event.CLAIM): State.UNKNOWN,
    (State.UNKNOWN, Event.RELEASE): State.UNKNOWN,
    (State.UNKNOWN, Event.SEND): State.SENT,
    (State.UNKNOWN, Event.RESOLVE): State.RESOLVING,
    (State.PENDING_ACTION, Event.RESOLVE): State.RESOLVING,
    (State.RESOLVING, Event.SUCCEED): State.SUCCEEDED,
    (State.RESOLVING, Event.DECLINE): State.DECLINED,
    (State.RESOLVING, Event.REQUIRE_ACTION): State.PENDING_ACTION,
    (State.RESOLVING, Event.CONFIRM_ABSENT): State.ABSENT_CONFIRMED,
    (State.RESOLVING, Event.LOSE): State.UNKNOWN,
    (State.RESOLVING, Event.EXPIRE): State.UNKNOWN,
}


def transition(state: State, event: Event) -> State:
    """The state after ``event``; ``IllegalTransition`` where the table has none."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition("effect attempt", state.value, event.value) from None


def sources(event: Event) -> dict[State, State]:
    """Every state in which ``event`` may happen, with the state that follows."""
    return {state: target for (state, candidate), target in TRANSITIONS.items() if candidate is event}
