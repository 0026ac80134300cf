"""The SQL effect that issues invoices when an account is closed for a month.

Owns: reading unbilled items, writing invoices with their journal transactions and payment intents, all in the SQL
transaction of the command's inbox row. Must not know: how a charge is sent (``charges``), Kafka.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, update

from tallystick.billing.charges import ChargeOrders
from tallystick.billing.events import (
    BILLING_COMMANDS,
    INVOICE_EVENTS,
    PAYMENT_COMMANDS,
    CloseAccount,
    InvoiceIssued,
    PaymentCommand,
    UnusableRecord,
)
from tallystick.billing.invoices import USAGE_KIND, Invoice, Item, draw_up
from tallystick.billing.tables import (
    RECEIVABLE,
    REVENUE,
    invoice,
    invoice_counter,
    invoice_line,
    line_allocation,
    rated_item,
)
from tallystick.boundary.statements import insert as insert_or_nothing
from tallystick.ids import deterministic_id
from tallystick.ledger.journal import JournalTx, post_all, transfer
from tallystick.ledger.money import Money
from tallystick.pipeline.records import Output, Record

ISSUER: Final = "tallystick"
_PERIOD: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_ACCOUNTS_PER_QUERY: Final = 500


class IssueInvoices:
    """A batch handler: reads the batch's accounts in one query, draws up in memory, writes in bulk."""

    def __init__(self, orders: ChargeOrders) -> None:
        self._orders = orders
        self._unbilled: dict[str, list[Item]] = {}
        self._ordinals: dict[tuple[str, str, str], int] = {}
        self._drawn: list[Invoice] = []

    def begin_batch(self, connection: Connection, records: Sequence[Record]) -> None:
        """Read what the accounts of these commands have unbilled, and how many invoices they have."""
        self._drawn.clear()
        accounts = sorted({_command(record).account for record in records})
        self._unbilled = _unbilled_items(connection, accounts)
        self._ordinals = _next_ordinals(connection, accounts)

    def __call__(self, connection: Connection, record: Record) -> list[Output]:  # noqa: ARG002  the port's
        command = _command(record)
        items = self._unbilled.get(command.account, [])
        due = [item for item in items if item.period <= command.through_period]
        self._unbilled[command.account] = [item for item in items if item.period > command.through_period]

        def next_ordinal(period: str, currency: str) -> int:
            place = (command.account, period, currency)
            ordinal = self._ordinals.get(place, 0)
            self._ordinals[place] = ordinal + 1
            return ordinal

        drawn = draw_up(command.account, due, next_ordinal=next_ordinal)
        self._drawn.extend(drawn)
        return [output for one in drawn for output in _outputs(one)]

    def end_batch(self, connection: Connection, records: Sequence[Record]) -> None:  # noqa: ARG002  the port's
        """Write everything. Lines before invoices: an invoice is complete from its own INSERT on."""
        drawn, self._drawn = self._drawn, []
        if not drawn:
            return
        numbers = _take_numbers(connection, len(drawn))
        lines = [line for one in drawn for line in one.lines]
        connection.execute(
            insert(invoice_line),
            [
                {
                    "id": line.id,
                    "invoice_id": line.invoice_id,
                    "ordinal": line.ordinal,
                    "charge_id": line.charge_id,
                    "group_key": line.group_key,
                    "quantity": line.quantity,
                    "amount_minor": line.amount_minor,
                }
                for line in lines
            ],
        )
        connection.execute(
            insert(line_allocation),
            [
                {"rated_item_id": item.id, "line_id": line.id, "amount_minor": item.amount_minor}
                for line in lines
                for item in line.items
            ],
        )
        connection.execute(insert(invoice), [_row(one, number) for one, number in zip(drawn, numbers, strict=True)])
        payable = [one for one in drawn if one.total_minor > 0]
        post_all(connection, [_posting(one) for one in payable])
        self._orders.order(connection, payable)


def _command(record: Record) -> CloseAccount:
    command = BILLING_COMMANDS.decode(record.value)
    if command.command_id != record.event_id:
        raise UnusableRecord(f"billing.commands: event {record.event_id} holds command {command.command_id}")
    if not _PERIOD.fullmatch(command.through_period):
        raise UnusableRecord(f"billing.commands: period {command.through_period!r} is not yyyy-mm")
    return command


def _unbilled_items(connection: Connection, accounts: Sequence[str]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = defaultdict(list)
    c = rated_item.c
    for start in range(0, len(accounts), _ACCOUNTS_PER_QUERY):
        query = (
            select(c.id, c.account, c.period, c.currency, c.charge_id, c.quantity, c.amount_minor)
            .outerjoin(line_allocation, line_allocation.c.rated_item_id == c.id)
            .where(
                c.account.in_(accounts[start : start + _ACCOUNTS_PER_QUERY]), line_allocation.c.rated_item_id.is_(None)
            )
        )
        for row in connection.execute(query):
            found[row.account].append(Item(*row))
    return found


def _next_ordinals(connection: Connection, accounts: Sequence[str]) -> dict[tuple[str, str, str], int]:
    found: dict[tuple[str, str, str], int] = {}
    c = invoice.c
    for start in range(0, len(accounts), _ACCOUNTS_PER_QUERY):
        query = (
            select(c.account, c.period, c.currency, func.max(c.ordinal))
            .where(c.account.in_(accounts[start : start + _ACCOUNTS_PER_QUERY]), c.kind == USAGE_KIND)
            .group_by(c.account, c.period, c.currency)
        )
        for account, period, currency, ordinal in connection.execute(query):
            found[account, period, currency] = ordinal + 1
    return found


def _take_numbers(connection: Connection, count: int) -> range:
    """The next ``count`` numbers of the issuer, without gaps: the counter's row is locked until the commit."""
    start = insert_or_nothing(connection, invoice_counter).values(issuer=ISSUER, last_number=0)
    connection.execute(start.on_conflict_do_nothing(index_elements=["issuer"]))
    last = connection.execute(
        update(invoice_counter)
        .where(invoice_counter.c.issuer == ISSUER)
        .values(last_number=invoice_counter.c.last_number + count)
        .returning(invoice_counter.c.last_number)
    ).scalar_one()
    return range(last - count + 1, last + 1)


def _row(one: Invoice, number: int) -> dict[str, Any]:
    return {
        "id": one.id,
        "issuer": ISSUER,
        "number": number,
        "account": one.account,
        "currency": one.currency,
        "period": one.period,
        "kind": one.kind,
        "ordinal": one.ordinal,
        "issued_on": one.issued_on.isoformat(),
        "line_count": len(one.lines),
        "lines_minor": one.total_minor,
        "discount_minor": 0,
        "tax_minor": 0,
        "total_minor": one.total_minor,
    }


def _posting(one: Invoice) -> JournalTx:
    return transfer(
        cause_id=one.id,
        purpose="invoice.issue",
        effective_on=one.issued_on,
        debit=RECEIVABLE,
        credit=REVENUE,
        amount=Money(one.total_minor, one.currency),
        party=one.account,
    )


def _outputs(one: Invoice) -> list[Output]:
    issued = InvoiceIssued(
        invoice_id=one.id,
        account=one.account,
        period=one.period,
        ordinal=one.ordinal,
        issued_on=one.issued_on.isoformat(),
        total_minor=one.total_minor,
        currency=one.currency,
        rated_items=one.item_count,
    )
    event_id = deterministic_id("invoice_issued", one.id)
    outputs = [Output(INVOICE_EVENTS.name, one.account.encode(), INVOICE_EVENTS.encode(issued), event_id)]
    if one.total_minor > 0:
        command = PaymentCommand(
            intent_id=one.intent_id,
            invoice_id=one.id,
            account=one.account,
            amount_minor=one.total_minor,
            currency=one.currency,
        )
        event_id = deterministic_id("payment_command", one.intent_id)
        outputs.append(
            Output(PAYMENT_COMMANDS.name, one.intent_id.encode(), PAYMENT_COMMANDS.encode(command), event_id)
        )
    return outputs
