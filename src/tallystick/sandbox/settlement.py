"""Settlement and payout files: one line for each movement on the account at the provider.

Owns: their columns. Pure. Must not know: where they are written.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Final

from tallystick.sandbox.charge import Charge

SETTLEMENT_COLUMNS: Final = (
    "id",
    "type",
    "amount_minor",
    "fee_minor",
    "net_minor",
    "currency",
    "reference",
    "intent_reference",
    "created",
)


def settlement_csv(charges: Iterable[Charge], *, payout: tuple[str, int, str, int] | None = None) -> str:
    """The movements of these charges, refunds and disputes, oldest first, and at the end the payout of them, if any.

    A refund and a dispute are negative; ``net_minor`` is what they add to the balance after the fee.
    """
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(SETTLEMENT_COLUMNS)
    for charge in charges:
        if not charge.moved_money:
            continue
        net_minor = charge.signed_minor - charge.fee_minor
        money = (charge.signed_minor, charge.fee_minor, net_minor, charge.currency.upper())
        names = (charge.parent_id or charge.id, charge.reference, charge.created_ms // 1000)
        writer.writerow((charge.balance_transaction_id, charge.kind, *money, *names))
    if payout is not None:
        payout_id, amount_minor, currency, created_ms = payout
        writer.writerow(
            (payout_id, "payout", -amount_minor, 0, -amount_minor, currency.upper(), payout_id, "", created_ms // 1000)
        )
    return sink.getvalue()
