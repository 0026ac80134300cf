"""Charges: ordering one when an invoice is issued, and booking what became of it.

Owns: payment intents, captures, the postings of a charge. Must not know: HTTP, when a charge is sent, which is the
dispatcher's business. Nothing here waits for a provider (rule 30).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

import msgspec
from sqlalchemy import Connection, Engine, Row, bindparam, func, insert, select

from tallystick.billing.events import PAYMENT_OUTCOMES, PaymentOutcome
from tallystick.billing.invoices import CHARGE_PURPOSE, Invoice
from tallystick.billing.tables import PROVIDER_CLEARING, RECEIVABLE, SUSPENSE, invoice, payment_capture, payment_intent
from tallystick.boundary import schema
from tallystick.boundary.effect_ledger import Attempt, EffectLedger
from tallystick.boundary.effect_ledger.suspense import Suspended
from tallystick.boundary.effects import State
from tallystick.boundary.outbox import add_to_outbox
from tallystick.boundary.provider import Outcome
from tallystick.boundary.providers.stripe_like import charge_body
from tallystick.errors import FatalError
from tallystick.ids import EventId, deterministic_id
from tallystick.ledger.journal import post, transfer
from tallystick.ledger.money import Money
from tallystick.pipeline.records import Output

PROVIDER: Final = "stripe"
"""Name of the provider in the effect ledger: the one that ``StripeLike`` has by default."""

MAX_ATTEMPTS: Final = 3

SUSPENDED: Final = "SUSPENDED"
"""State of a ``PaymentOutcome`` about a success that its attempt could not take; its code is the kind of break."""

# Built once: to build a statement costs more than SQLite takes to run it, and these run for every charge.
_CAPTURE: Final = insert(payment_capture)
_OWED: Final = (
    select(invoice.c.id.label("invoice_id"), invoice.c.account, invoice.c.issued_on)
    .join(payment_intent, payment_intent.c.invoice_id == invoice.c.id)
    .where(payment_intent.c.id == bindparam("intent_id"))
)


class ChargeOrders:
    """Orders the charges of new invoices: an intent here, and one in the effect ledger with its first attempt."""

    def __init__(self, ledger: EffectLedger, *, provider: str = PROVIDER) -> None:
        self._ledger = ledger
        self._provider = provider

    def order(self, connection: Connection, invoices: Sequence[Invoice]) -> None:
        """Order one charge for the whole of each invoice, in the caller's transaction. None may be of zero."""
        if not invoices:
            return
        connection.execute(
            insert(payment_intent),
            [
                {
                    "id": one.intent_id,
                    "invoice_id": one.id,
                    "purpose": CHARGE_PURPOSE,
                    "ordinal": 0,
                    "amount_minor": one.total_minor,
                    "currency": one.currency,
                }
                for one in invoices
            ],
        )
        for one in invoices:
            self._ledger.create_intent(
                connection,
                intent_id=one.intent_id,
                provider=self._provider,
                amount_minor=one.total_minor,
                currency=one.currency,
                reference=one.intent_id,
                request=_request(one.intent_id, one.total_minor, one.currency, one.account),
            )


def on_outcome(connection: Connection, attempt: Attempt, outcome: Outcome) -> None:
    """Book an outcome, in the SQL transaction that records it (rule 34).

    A success moves the amount from the receivable to the provider's clearing account, gross: what the provider keeps
    is unknown until the settlement says it. Every outcome leaves through the outbox.
    """
    owed = _owed(connection, attempt.intent_id)
    if attempt.state is State.SUCCEEDED:
        _book_capture(connection, attempt, owed)
    told = _told(attempt, owed, code=outcome.code)
    _publish(connection, told, deterministic_id("payment_outcome", attempt.attempt_id, attempt.state.value))


def on_suspense(connection: Connection, attempt: Attempt, suspended: Suspended) -> None:
    """Book a success that must not exist, in the SQL transaction that puts it into suspense (rule 35).

    The provider holds the money, and it pays no invoice: it stands in the suspense account until a person has refunded
    it, or knows what it pays.
    """
    owed = _owed(connection, attempt.intent_id)
    amount = Money(suspended.amount_minor, suspended.currency.upper())
    post(
        connection,
        transfer(
            cause_id=f"{suspended.provider}/{suspended.provider_object_id}",
            purpose="payment.suspense",
            effective_on=date.fromisoformat(owed.issued_on),
            debit=PROVIDER_CLEARING,
            credit=SUSPENSE,
            amount=amount,
            party=owed.account,
        ),
    )
    told = msgspec.structs.replace(
        _told(attempt, owed, code=suspended.kind.value),
        state=SUSPENDED,
        amount_minor=amount.minor,
        currency=amount.currency,
        provider_object_id=suspended.provider_object_id,
    )
    fields = (attempt.attempt_id, SUSPENDED, suspended.provider_object_id)
    _publish(connection, told, deterministic_id("payment_outcome", *fields))


def _told(attempt: Attempt, owed: Row[str, str, str], *, code: str | None) -> PaymentOutcome:
    return PaymentOutcome(
        intent_id=attempt.intent_id,
        attempt_id=attempt.attempt_id,
        invoice_id=owed.invoice_id,
        account=owed.account,
        state=attempt.state.value,
        amount_minor=attempt.amount_minor,
        currency=attempt.currency,
        provider=attempt.provider,
        provider_object_id=attempt.provider_object_id,
        code=code,
    )


def _publish(connection: Connection, told: PaymentOutcome, event_id: EventId) -> None:
    record = Output(PAYMENT_OUTCOMES.name, told.intent_id.encode(), PAYMENT_OUTCOMES.encode(told), event_id)
    add_to_outbox(connection, [record])


def retry_absent(engine: Engine, ledger: EffectLedger) -> int:
    """Order the next attempt for each intent whose last one did not happen, for certain; returns how many.

    Only ABSENT_CONFIRMED asks for it (rule 32), and at most ``MAX_ATTEMPTS`` exist: a person looks at the rest.
    """
    attempt = schema.effect_attempt.c
    last = (
        select(attempt.intent_id, func.max(attempt.attempt_number).label("number"))
        .group_by(attempt.intent_id)
        .subquery()
    )
    query = (
        select(attempt.intent_id, attempt.amount_minor, attempt.currency)
        .join(last, (last.c.intent_id == attempt.intent_id) & (last.c.number == attempt.attempt_number))
        .where(attempt.state == State.ABSENT_CONFIRMED.value, attempt.attempt_number < MAX_ATTEMPTS)
        .order_by(attempt.intent_id)
    )
    with engine.begin() as connection:
        absent = connection.execute(query).all()
        for intent_id, amount_minor, currency in absent:
            request = _request(intent_id, amount_minor, currency, _owed(connection, intent_id).account)
            ledger.add_attempt(connection, intent_id=intent_id, request=request)
    return len(absent)


def _request(intent_id: str, amount_minor: int, currency: str, account: str) -> bytes:
    """The bytes of the charge: the same in every replay, since the effect ledger holds them against the first."""
    return charge_body(amount_minor=amount_minor, currency=currency, reference=intent_id, customer=account)


def _owed(connection: Connection, intent_id: str) -> Row[str, str, str]:
    found = connection.execute(_OWED, {"intent_id": intent_id}).one_or_none()
    if found is None:
        raise FatalError(f"an outcome for intent {intent_id}, which billing never ordered")
    return found


def _book_capture(connection: Connection, attempt: Attempt, owed: Row[str, str, str]) -> None:
    if attempt.captured_minor is None or attempt.provider_object_id is None:
        raise FatalError(f"attempt {attempt.attempt_id} succeeded without an amount or an object of the provider")
    amount = Money(attempt.captured_minor, attempt.currency)
    capture = {
        "intent_id": attempt.intent_id,
        "attempt_id": attempt.attempt_id,
        "provider": attempt.provider,
        "provider_object_id": attempt.provider_object_id,
        "amount_minor": amount.minor,
        "currency": amount.currency,
    }
    connection.execute(_CAPTURE, capture)
    post(
        connection,
        transfer(
            cause_id=attempt.intent_id,
            purpose="payment.capture",
            # the day it fell due, not the day the answer came: the books of a replay are the same
            effective_on=date.fromisoformat(owed.issued_on),
            debit=PROVIDER_CLEARING,
            credit=RECEIVABLE,
            amount=amount,
            party=owed.account,
        ),
    )
