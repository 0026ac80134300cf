"""The provider's settlement file, booked: fees and payouts, which only it knows.

Owns: ``external_record`` rows and their postings. Must not know: whether the two sides agree; that is
``reconciliation``'s to say. A charge in the file that we do not know is kept, books nothing, and becomes a break there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import Engine, insert, select

from tallystick.billing.charges import PROVIDER
from tallystick.billing.tables import BANK, PROVIDER_CLEARING, PROVIDER_FEES, external_record, payment_capture
from tallystick.errors import TallystickError
from tallystick.ledger.journal import JournalTx, post_all, transfer
from tallystick.ledger.money import Money
from tallystick.ledger.statement import StatementLine
from tallystick.ledger.tables import journal_tx

FEE: Final = "settlement.fee"
PAYOUT: Final = "settlement.payout"


class StatementConflict(TallystickError):
    """The provider says something else about a movement than in an earlier file (rule 27)."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What one file did: lines that were new, lines known from an earlier reading, postings made."""

    new_lines: int
    known_lines: int
    postings: int


def book_settlement(
    engine: Engine,
    lines: Sequence[StatementLine],
    *,
    statement_id: str,
    settled_on: date,
    provider: str = PROVIDER,
) -> Settled:
    """Keep the lines and post fees and payouts, all in one SQL transaction; a second reading changes nothing.

    A charge's fee is posted only if the charge is a capture of ours. ``settled_on`` dates the postings. Raises
    ``StatementConflict`` if a movement is known with other contents.
    """
    with engine.begin() as connection:
        ours = frozenset(
            connection.execute(
                select(payment_capture.c.provider_object_id).where(payment_capture.c.provider == provider)
            ).scalars()
        )
        known = {
            row.id: row.body_hash
            for row in connection.execute(
                select(external_record.c.id, external_record.c.body_hash).where(external_record.c.provider == provider)
            )
        }
        stored_ids = frozenset(known)
        booked = frozenset(
            connection.execute(select(journal_tx.c.cause_id).where(journal_tx.c.purpose.in_((FEE, PAYOUT)))).scalars()
        )
        rows: dict[str, dict[str, object]] = {}
        postings: list[JournalTx] = []
        for line in lines:
            record_id = line.record_id(provider)
            stored = known.setdefault(record_id, line.body_hash())
            if stored != line.body_hash():
                raise StatementConflict(f"{statement_id}:{line.line_number}: {line.id} was told otherwise before")
            if record_id in rows:
                continue  # twice in one file
            if record_id not in stored_ids:
                rows[record_id] = _row(line, record_id, provider=provider, statement_id=statement_id)
            # a known line, too: its charge may have become ours since
            posting = _posting(line, record_id, settled_on=settled_on, is_ours=line.reference in ours)
            if posting is not None and record_id not in booked:
                postings.append(posting)
        if rows:
            connection.execute(insert(external_record), list(rows.values()))
        post_all(connection, postings)
    return Settled(new_lines=len(rows), known_lines=len(lines) - len(rows), postings=len(postings))


def _row(line: StatementLine, record_id: str, *, provider: str, statement_id: str) -> dict[str, object]:
    return {
        "id": record_id,
        "provider": provider,
        "statement_id": statement_id,
        "line_number": line.line_number,
        "provider_reference": line.id,
        "type": line.type,
        "charge_reference": line.reference,
        "intent_reference": line.intent_reference,
        "amount_minor": line.amount_minor,
        "fee_minor": line.fee_minor,
        "net_minor": line.net_minor,
        "currency": line.currency,
        "body_hash": line.body_hash(),
    }


def _posting(line: StatementLine, record_id: str, *, settled_on: date, is_ours: bool) -> JournalTx | None:
    def book(purpose: str, debit: str, credit: str, minor: int) -> JournalTx:
        return transfer(
            cause_id=record_id,
            purpose=purpose,
            effective_on=settled_on,
            debit=debit,
            credit=credit,
            amount=Money(minor, line.currency),
        )

    if line.type == "charge" and is_ours and line.fee_minor:
        return book(FEE, PROVIDER_FEES, PROVIDER_CLEARING, line.fee_minor)
    if line.type == "payout" and line.net_minor:  # negative there: it leaves our account at the provider
        return book(PAYOUT, BANK, PROVIDER_CLEARING, -line.net_minor)
    return None
