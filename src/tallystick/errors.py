"""The error classes of Tallystick, sorted by what the caller has to do.

Owns: the base classes. Must not know: Kafka's numeric codes (``wire.errors``), SQL or HTTP.

The four classes follow KIP-1050: every failure says which one of four things the caller does next. Nothing in
Tallystick raises a bare ``Exception``; an error that fits none of the four is a bug or a configuration error.
"""

from __future__ import annotations


class TallystickError(Exception):
    """Base of every error that Tallystick raises on purpose."""


class ConfigurationError(TallystickError):
    """A setting is missing, malformed or contradicts the chosen guarantee.

    ``rule`` is the number of the rule in ``docs/rules.md`` that the setting would break, where there is one;
    ``remedy`` is one sentence that says what to do.
    """

    def __init__(self, message: str, *, rule: int | None = None, remedy: str | None = None) -> None:
        self.rule = rule
        self.remedy = remedy
        text = message if rule is None else f"{message} (rule {rule})"
        super().__init__(text if remedy is None else f"{text}. {remedy}")


class IllegalTransition(TallystickError):
    """A state machine was asked for a transition that its table does not have. Always a bug: never caught."""

    def __init__(self, machine: str, state: str, event: str) -> None:
        self.machine = machine
        self.state = state
        self.event = event
        super().__init__(f"{machine}: no transition from {state} on {event}")


class RetriableError(TallystickError):
    """Nothing happened, or it happened idempotently: call the same thing again, after a pause."""


class AbortableError(TallystickError):
    """The open transaction is lost: abort it, rewind to the committed offsets, go on."""


class FencedError(TallystickError):
    """A newer owner exists: this process stops and never re-initialises (rules 5 and 17)."""


class FatalError(TallystickError):
    """The client object is beyond use: a new one is needed, and someone should look at why."""


class AmbiguousOutcome(TallystickError):
    """Neither "it happened" nor "it did not" is known. Settle it; never guess (rules 15, 28 and 31)."""


class CorruptData(TallystickError):
    """Stored bytes do not verify. ``place`` names file and position, so that a person can look."""

    def __init__(self, message: str, *, place: str) -> None:
        self.place = place
        super().__init__(f"{message} at {place}")
