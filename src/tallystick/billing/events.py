"""The events of billing, as they stand in the topics, and the topics.

Owns: field names and topic names; both are formats that others read. Must not know: who writes or reads them.

Amounts are integer minor units with a currency; dates are ISO 8601 days, periods ISO 8601 months (``1997-01``).
"""

from __future__ import annotations

from typing import Final

import msgspec

from tallystick.errors import TallystickError
from tallystick.ids import EventId, deterministic_id
from tallystick.pipeline.topics import Topic


class UnusableRecord(TallystickError):
    """A record that contradicts itself: it goes where the step's error policy sends it."""


class UsageRaw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a source, untouched. ``line`` holds its bytes as ISO 8859-1 text, which loses none of them."""

    tenant: str
    source: str
    line_number: int
    line: str


class UsageAccepted(msgspec.Struct, frozen=True):
    """A line that says what it must: who, when, how many, for how much."""

    usage_event_id: str
    tenant: str
    source: str
    line_number: int
    account: str
    occurred_on: str
    quantity: int
    amount_minor: int
    currency: str


class UsageQuarantined(msgspec.Struct, frozen=True):
    """A line that cannot be billed, why, and where it stands, so that somebody can correct it.

    ``body`` is for reading; the bytes themselves stay in the topic at that place.
    """

    usage_event_id: str
    reason: str
    topic: str
    partition: int
    offset: int
    body: str


class UsageRated(msgspec.Struct, frozen=True):
    """What one charge of the price plan asks for one accepted event."""

    rated_item_id: EventId
    usage_event_id: str
    tenant: str
    source: str
    line_number: int
    account: str
    charge_id: str
    occurred_on: str
    period: str
    quantity: int
    amount_minor: int
    currency: str


class CloseAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Command: invoice everything unbilled of ``account`` up to and including ``through_period``.

    ``ordinal`` tells one close of the same account and period from the next (late usage, say).
    """

    account: str
    through_period: str
    ordinal: int = 0

    @property
    def command_id(self) -> EventId:
        return deterministic_id("close_account", self.account, self.through_period, self.ordinal)


class InvoiceIssued(msgspec.Struct, frozen=True):
    """An invoice exists. Its number is in SQL: it says in which order invoices were written, nothing else."""

    invoice_id: str
    account: str
    period: str
    ordinal: int
    issued_on: str
    total_minor: int
    currency: str
    rated_items: int


class PaymentCommand(msgspec.Struct, frozen=True):
    """Information: a charge is asked for. The order itself is the row in the effect ledger."""

    intent_id: str
    invoice_id: str
    account: str
    amount_minor: int
    currency: str


class PaymentOutcome(msgspec.Struct, frozen=True):
    """What became of one attempt at a charge."""

    intent_id: str
    attempt_id: str
    invoice_id: str
    account: str
    state: str
    amount_minor: int
    currency: str
    provider: str
    provider_object_id: str | None
    code: str | None


USAGE_RAW: Final = Topic("usage.raw", bytes)
USAGE_ACCEPTED: Final = Topic("usage.accepted", UsageAccepted)
USAGE_QUARANTINE: Final = Topic("usage.quarantine", UsageQuarantined)
USAGE_RATED: Final = Topic("usage.rated", UsageRated)
BILLING_COMMANDS: Final = Topic("billing.commands", CloseAccount)
INVOICE_EVENTS: Final = Topic("invoice.events", InvoiceIssued)
PAYMENT_COMMANDS: Final = Topic("payment.commands", PaymentCommand)
PAYMENT_OUTCOMES: Final = Topic("payment.outcomes", PaymentOutcome)

TOPICS: Final = (
    USAGE_RAW,
    USAGE_ACCEPTED,
    USAGE_QUARANTINE,
    USAGE_RATED,
    BILLING_COMMANDS,
    INVOICE_EVENTS,
    PAYMENT_COMMANDS,
    PAYMENT_OUTCOMES,
)


def usage_event_id(*, tenant: str, source: str, line_number: int) -> EventId:
    """The id of a usage event: where it stands, never what it says. Two identical lines are two purchases."""
    return deterministic_id("usage_event", tenant, source, str(line_number))


def account_of(*, tenant: str, customer: str) -> str:
    """The account of a tenant's customer, which keys every record about it: one account, one partition, one order."""
    return f"{tenant}:{customer}"


def rated_item_id(*, event_id: str, charge_id: str) -> EventId:
    """The id of what ``charge_id`` asks for one event."""
    return deterministic_id("rated_item", event_id, charge_id)
