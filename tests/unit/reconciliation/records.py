"""Short ways to make the records of both sides."""

from __future__ import annotations

from tallystick.ledger.facts import CAPTURED, Payment
from tallystick.ledger.statement import StatementLine


def payment(
    reference: str,
    amount_minor: int = 1000,
    *,
    charge: str | None = None,
    status: str = CAPTURED,
    fee_minor: int | None = None,
    currency: str = "USD",
) -> Payment:
    made = charge if charge is not None or status != CAPTURED else f"ch_{reference}"
    return Payment(reference, made, amount_minor, currency, fee_minor, status)


def line(
    reference: str,
    amount_minor: int = 1000,
    *,
    fee_minor: int = 30,
    net_minor: int | None = None,
    currency: str = "USD",
    kind: str = "charge",
    line_id: str | None = None,
    intent: str | None = None,
) -> StatementLine:
    """The settlement line of the charge ``ch_{reference}``."""
    return StatementLine(
        line_number=1,
        id=line_id or f"txn_{reference}",
        type=kind,
        amount_minor=amount_minor,
        fee_minor=fee_minor,
        net_minor=amount_minor - fee_minor if net_minor is None else net_minor,
        currency=currency,
        reference=f"ch_{reference}",
        intent_reference=reference if intent is None else intent,
        created="1700000000",
    )
