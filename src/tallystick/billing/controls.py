"""Billing's invariants, each as a check that anyone can run at any moment.

Owns: the checks. Must not know: how the rows came to be. Most of them the database holds already; a check that never
fails is how one knows. Each returns findings, empty when the invariant holds; none raises for what it finds.

The numbers are those of the invariants: 1 balanced journal, 2 nothing accepted is lost, 3 each item on one line,
4 totals add up, 5 issued invoices never change, 6 captured at most what was ordered, 7 accounts equal what they stand
for, 8 the roll-forward of receivables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, text

from tallystick.billing.tables import RECEIVABLE
from tallystick.ledger.journal import balances, balances_by_party


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation: of which invariant, and what was found."""

    invariant: int
    what: str

    def __str__(self) -> str:
        return f"invariant {self.invariant}: {self.what}"


_MAX_FINDINGS: Final = 100
"""Rows told for each query: what is wrong a million times is wrong once."""


def journal_is_balanced(connection: Connection) -> list[Finding]:
    """1: each transaction sums to zero in each currency, and its rows are its entries."""
    unbalanced = _rows(
        connection,
        "SELECT tx_id, currency, SUM(amount_minor) AS over FROM journal_entry "
        "GROUP BY tx_id, currency HAVING SUM(amount_minor) <> 0",
    )
    lone = _rows(
        connection,
        "SELECT t.id FROM journal_tx AS t LEFT JOIN journal_entry AS e ON e.tx_id = t.id "
        "GROUP BY t.id HAVING COUNT(e.ordinal) < 2",
    )
    return [
        *(Finding(1, f"journal transaction {row.tx_id} is {row.over} {row.currency} over") for row in unbalanced),
        *(Finding(1, f"journal transaction {row.id} has fewer than two entries") for row in lone),
    ]


def items_are_on_one_line(connection: Connection) -> list[Finding]:
    """3: each rated item is on exactly one line with its whole amount, or unbilled; none is on two."""
    wrong = _rows(
        connection,
        "SELECT r.id, r.amount_minor, COUNT(a.line_id) AS lines, SUM(a.amount_minor) AS allocated "
        "FROM rated_item AS r JOIN line_allocation AS a ON a.rated_item_id = r.id "
        "GROUP BY r.id, r.amount_minor HAVING COUNT(a.line_id) <> 1 OR SUM(a.amount_minor) <> r.amount_minor",
    )
    stray = _rows(
        connection,
        "SELECT r.id FROM rated_item AS r JOIN line_allocation AS a ON a.rated_item_id = r.id "
        "JOIN invoice_line AS l ON l.id = a.line_id JOIN invoice AS i ON i.id = l.invoice_id "
        "WHERE i.account <> r.account OR i.currency <> r.currency OR i.period <> r.period",
    )
    return [
        *(
            Finding(3, f"rated item {row.id} of {row.amount_minor} is on {row.lines} lines with {row.allocated}")
            for row in wrong
        ),
        *(Finding(3, f"rated item {row.id} is on another account's, month's or currency's invoice") for row in stray),
    ]


def totals_add_up(connection: Connection) -> list[Finding]:
    """4: total = lines - discounts + tax; lines are the sums of their allocations; numbers have no gaps."""
    off = _rows(
        connection,
        "SELECT i.id, i.lines_minor, i.line_count FROM invoice AS i LEFT JOIN invoice_line AS l ON l.invoice_id = i.id "
        "GROUP BY i.id, i.lines_minor, i.line_count, i.total_minor, i.discount_minor, i.tax_minor "
        "HAVING COUNT(l.id) <> i.line_count OR COALESCE(SUM(l.amount_minor), 0) <> i.lines_minor "
        "OR i.total_minor <> i.lines_minor - i.discount_minor + i.tax_minor",
    )
    lines = _rows(
        connection,
        "SELECT l.id FROM invoice_line AS l LEFT JOIN line_allocation AS a ON a.line_id = l.id "
        "GROUP BY l.id, l.amount_minor HAVING COALESCE(SUM(a.amount_minor), 0) <> l.amount_minor",
    )
    gaps = _rows(
        connection,
        "SELECT issuer, MAX(number) AS last, COUNT(*) AS issued FROM invoice GROUP BY issuer "
        "HAVING MAX(number) <> COUNT(*)",
    )
    return [
        *(Finding(4, f"invoice {row.id} is not the sum of its lines ({row.lines_minor})") for row in off),
        *(Finding(4, f"invoice line {row.id} is not the sum of its allocations") for row in lines),
        *(Finding(4, f"{row.issuer} issued {row.issued} invoices up to number {row.last}") for row in gaps),
    ]


def invoices_are_posted(connection: Connection) -> list[Finding]:
    """5: what the journal says of an invoice is what the invoice says: neither changed afterwards."""
    off = _rows(
        connection,
        # Materialized: SQLite's planner otherwise reads every receivable entry for every invoice.
        "WITH posted AS MATERIALIZED (SELECT t.cause_id, e.amount_minor, e.party FROM journal_tx AS t "
        "JOIN journal_entry AS e ON e.tx_id = t.id WHERE t.purpose = 'invoice.issue' AND e.account = 'receivable') "
        "SELECT i.id, i.total_minor, p.amount_minor FROM invoice AS i LEFT JOIN posted AS p ON p.cause_id = i.id "
        "WHERE COALESCE(p.amount_minor, 0) <> i.total_minor OR COALESCE(p.party, i.account) <> i.account",
    )
    return [Finding(5, f"invoice {row.id} is of {row.total_minor}, its posting of {row.amount_minor}") for row in off]


def captures_are_within_orders(connection: Connection) -> list[Finding]:
    """6: captured at most what was ordered, orders at most what is owed, at most one open attempt each."""
    over = _rows(
        connection,
        "SELECT p.id, p.amount_minor, c.amount_minor AS captured FROM payment_intent AS p "
        "JOIN payment_capture AS c ON c.intent_id = p.id WHERE c.amount_minor > p.amount_minor "
        "OR c.currency <> p.currency",
    )
    more = _rows(
        connection,
        "SELECT i.id FROM invoice AS i JOIN payment_intent AS p ON p.invoice_id = i.id "
        "GROUP BY i.id, i.total_minor HAVING SUM(p.amount_minor) > i.total_minor",
    )
    unordered = _rows(
        connection,
        "SELECT i.id FROM invoice AS i LEFT JOIN payment_intent AS p ON p.invoice_id = i.id "
        "WHERE i.total_minor > 0 AND p.id IS NULL",
    )
    unbooked = _rows(
        connection,
        "SELECT a.intent_id FROM tallystick_effect_attempt AS a "
        "LEFT JOIN payment_capture AS c ON c.intent_id = a.intent_id AND c.attempt_id = a.attempt_id "
        "WHERE a.state = 'SUCCEEDED' AND (c.intent_id IS NULL OR c.amount_minor <> a.captured_minor)",
    )
    attempts = _rows(
        connection,
        "SELECT intent_id, COUNT(*) AS open FROM tallystick_effect_attempt "
        "WHERE state NOT IN ('SUCCEEDED', 'DECLINED', 'ABSENT_CONFIRMED') GROUP BY intent_id HAVING COUNT(*) > 1",
    )
    return [
        *(Finding(6, f"intent {row.id} of {row.amount_minor} is captured with {row.captured}") for row in over),
        *(Finding(6, f"invoice {row.id} has orders for more than its total") for row in more),
        *(Finding(6, f"invoice {row.id} is owed and no charge is ordered") for row in unordered),
        *(Finding(6, f"intent {row.intent_id} succeeded and is not booked") for row in unbooked),
        *(Finding(6, f"intent {row.intent_id} has {row.open} open attempts") for row in attempts),
    ]


def accounts_equal_what_they_stand_for(connection: Connection) -> list[Finding]:
    """7: receivables are open invoices; provider clearing is captures and suspense, less fees and payouts."""
    booked = balances(connection)
    issued = _sums(connection, "SELECT currency, SUM(total_minor) FROM invoice GROUP BY currency")
    captured = _sums(connection, "SELECT currency, SUM(amount_minor) FROM payment_capture GROUP BY currency")
    suspended = _sums(
        connection, "SELECT UPPER(currency), SUM(amount_minor) FROM tallystick_effect_suspense GROUP BY 1"
    )
    fees = _sums(
        connection,
        "SELECT e.currency, SUM(e.fee_minor) FROM external_record AS e "
        "JOIN payment_capture AS c ON c.provider = e.provider AND c.provider_object_id = e.charge_reference "
        "WHERE e.type = 'charge' GROUP BY e.currency",
    )
    payouts = _sums(
        connection, "SELECT currency, -SUM(net_minor) FROM external_record WHERE type = 'payout' GROUP BY currency"
    )
    findings = []
    for currency in sorted({*issued, *captured, *suspended, *(currency for _, currency in booked)}):
        expected = {
            "receivable": issued.get(currency, 0) - captured.get(currency, 0),
            "revenue": -issued.get(currency, 0),
            "suspense": -suspended.get(currency, 0),
            "provider_clearing": captured.get(currency, 0)
            + suspended.get(currency, 0)
            - fees.get(currency, 0)
            - payouts.get(currency, 0),
            "provider_fees": fees.get(currency, 0),
            "bank": payouts.get(currency, 0),
        }
        for account, minor in expected.items():
            found = booked.get((account, currency), 0)
            if found != minor:
                findings.append(Finding(7, f"{account} holds {found} {currency} and should hold {minor}"))
    return findings


def receivables_roll_forward(connection: Connection) -> list[Finding]:
    """8: for each account, invoices less captures is its receivable: nothing is paid on another one's behalf."""
    issued = _by_account(
        connection, "SELECT account, currency, SUM(total_minor) FROM invoice GROUP BY account, currency"
    )
    captured = _by_account(
        connection,
        "SELECT i.account, c.currency, SUM(c.amount_minor) FROM payment_capture AS c "
        "JOIN payment_intent AS p ON p.id = c.intent_id JOIN invoice AS i ON i.id = p.invoice_id "
        "GROUP BY i.account, c.currency",
    )
    booked = balances_by_party(connection, RECEIVABLE)
    findings: list[Finding] = []
    for account, currency in sorted({*issued, *captured, *booked}):
        owes = issued.get((account, currency), 0) - captured.get((account, currency), 0)
        holds = booked.get((account, currency), 0)
        if owes != holds and len(findings) < _MAX_FINDINGS:
            findings.append(Finding(8, f"{account} owes {owes} {currency} and its receivable holds {holds}"))
    return findings


CHECKS: Final[tuple[Callable[[Connection], list[Finding]], ...]] = (
    journal_is_balanced,
    items_are_on_one_line,
    totals_add_up,
    invoices_are_posted,
    captures_are_within_orders,
    accounts_equal_what_they_stand_for,
    receivables_roll_forward,
)
"""Every check that needs the database alone. Invariant 2 needs the topics, too: ``reconciliation_source``."""


def run_checks(connection: Connection) -> list[Finding]:
    """All findings of all checks, in their order."""
    return [finding for check in CHECKS for finding in check(connection)]


def _rows(connection: Connection, query: str) -> Sequence[Any]:
    return connection.execute(text(query)).fetchmany(_MAX_FINDINGS)


def _sums(connection: Connection, query: str) -> dict[str, int]:
    return {row[0]: int(row[1]) for row in connection.execute(text(query))}


def _by_account(connection: Connection, query: str) -> dict[tuple[str, str], int]:
    return {(row[0], row[1]): int(row[2]) for row in connection.execute(text(query))}
