"""What billing lays open for reconciliation: topics and tables turned into plain facts.

Owns: the fold over committed records, the reads of the tables, and which stages must agree. Must not know: how
matching works, or what the settlement says.

The way of the money, with what must hold between neighbours: lines produced = accepted + quarantined + sent twice;
accepted, rated (topic), rated (books) and billed = the same sum or ids; invoices = their postings; orders = invoices
to be paid; captures = orders that succeeded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, Engine, FromClause, func, select

from tallystick.billing.controls import run_checks
from tallystick.billing.events import USAGE_ACCEPTED, USAGE_QUARANTINE, USAGE_RATED, USAGE_RAW
from tallystick.billing.tables import (
    RECEIVABLE,
    external_record,
    invoice,
    invoice_line,
    line_allocation,
    payment_capture,
    payment_intent,
    rated_item,
)
from tallystick.boundary import schema
from tallystick.boundary.database import reading
from tallystick.boundary.effects import State
from tallystick.ids import body_hash
from tallystick.ledger.facts import (
    CAPTURED,
    DECLINED,
    OPEN,
    UNKNOWN,
    Comparison,
    Equation,
    Evidence,
    Fact,
    Hold,
    Payment,
    Stage,
)
from tallystick.ledger.tables import journal_entry, journal_tx
from tallystick.pipeline.records import Record

FOLDED_TOPICS: Final = (USAGE_RAW.name, USAGE_ACCEPTED.name, USAGE_QUARANTINE.name, USAGE_RATED.name)
"""The topics whose committed records ``fold_topics`` needs."""

STATUS: Final = {
    State.SUCCEEDED: CAPTURED,
    State.DECLINED: DECLINED,
    State.ABSENT_CONFIRMED: OPEN,
    State.CREATED: OPEN,
    State.CLAIMED: OPEN,
    State.PENDING_ACTION: OPEN,
    State.SENT: UNKNOWN,
    State.UNKNOWN: UNKNOWN,
    State.RESOLVING: UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Totals:
    """Count and sum that a direct reading of the source gives, in minor units of ``currency``."""

    count: int
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class TopicSide:
    """What the committed records of the usage topics say.

    ``produced`` counts records of ``usage.raw``; ``distinct`` its ids. ``duplicates`` are records whose id was there
    with the same body, ``conflicts`` those whose id was there with another one.
    """

    produced: int
    distinct: int
    duplicates: int
    conflicts: int
    quarantined: frozenset[str]
    accepted: tuple[Fact, ...]
    rated: tuple[Fact, ...]


def fold_topics(records: Mapping[str, Iterable[Record]]) -> TopicSide:
    """Fold committed records, by topic, each topic in the order of partition and offset.

    The first body of an id counts, as at the inbox: one account is one partition, so that "first" is the same there.
    """
    bodies: dict[str, set[str]] = defaultdict(set)
    produced = 0
    for record in records[USAGE_RAW.name]:
        produced += 1
        bodies[record.event_id].add(body_hash(record.value or b""))
    conflicts = sum(len(seen) - 1 for seen in bodies.values())
    accepted: dict[str, Fact] = {}
    for record in records[USAGE_ACCEPTED.name]:
        usage = USAGE_ACCEPTED.decode(record.value)
        accepted.setdefault(usage.usage_event_id, Fact(usage.usage_event_id, usage.amount_minor, usage.currency))
    rated: dict[str, Fact] = {}
    for record in records[USAGE_RATED.name]:
        item = USAGE_RATED.decode(record.value)
        rated.setdefault(item.rated_item_id, Fact(item.rated_item_id, item.amount_minor, item.currency))
    quarantined = {USAGE_QUARANTINE.decode(record.value).usage_event_id for record in records[USAGE_QUARANTINE.name]}
    return TopicSide(
        produced=produced,
        distinct=len(bodies),
        duplicates=produced - len(bodies) - conflicts,
        conflicts=conflicts,
        quarantined=frozenset(quarantined - accepted.keys()),
        accepted=tuple(accepted.values()),
        rated=tuple(rated.values()),
    )


def collect_evidence(engine: Engine, topics: TopicSide, *, direct: Totals | None = None) -> Evidence:
    """Everything that reconciliation compares, read from the database in one transaction.

    ``direct`` is what somebody who shares no code with us read from the source: accepted usage must equal it.
    """
    with reading(engine) as connection:
        payments = _payments(connection)
        stages = (
            Stage("topic usage.accepted", topics.accepted),
            Stage("topic usage.rated", topics.rated),
            Stage("books: rated items", _facts(connection, rated_item, rated_item.c.id)),
            Stage("books: billed and unbilled items", _billed(connection) + _unbilled(connection)),
            Stage("books: invoice lines", _lines(connection)),
            Stage("books: invoices", _invoices(connection)),
            Stage("books: invoices to be paid", _invoices(connection, payable=True)),
            Stage("journal: invoices", _issued(connection)),
            Stage("books: charges ordered", _ordered(connection)),
            Stage("books: charges in the effect ledger", _intents(connection)),
            Stage("books: intents", _facts(connection, payment_intent, payment_intent.c.id)),
            Stage("books: captures", _facts(connection, payment_capture, payment_capture.c.intent_id)),
            Stage("journal: captures", _captured(connection)),
        )
        unbilled = _unbilled(connection)
        findings = tuple(str(finding) for finding in run_checks(connection))
        seen = _inbox_counts(connection)
    comparisons = (
        Comparison("topic usage.accepted", "topic usage.rated", Hold.SUM),
        Comparison("topic usage.rated", "books: rated items", Hold.SET),
        Comparison("books: rated items", "books: billed and unbilled items", Hold.SET),
        Comparison("books: invoice lines", "books: invoices", Hold.SUM),
        Comparison("books: invoices to be paid", "journal: invoices", Hold.SET),
        Comparison("books: invoices to be paid", "books: charges ordered", Hold.SET),
        Comparison("books: intents", "books: charges in the effect ledger", Hold.SET),
        Comparison("books: captures", "journal: captures", Hold.SET),
    )
    by_status = {status: sum(1 for one in payments if one.status == status) for status in sorted(set(STATUS.values()))}
    return Evidence(
        stages=stages,
        comparisons=comparisons,
        equations=_equations(topics, unbilled, direct),
        payments=payments,
        findings=findings,
        counts=(
            ("lines produced", topics.produced),
            ("lines accepted", len(topics.accepted)),
            ("lines quarantined", len(topics.quarantined)),
            ("lines sent twice", topics.duplicates),
            ("lines in conflict with an earlier one", topics.conflicts),
            ("items unbilled", len(unbilled)),
            *((f"payments {status}", count) for status, count in by_status.items()),
            *seen,
        ),
    )


def _equations(topics: TopicSide, unbilled: Sequence[Fact], direct: Totals | None) -> tuple[Equation, ...]:
    explained = len(topics.accepted) + len(topics.quarantined) + topics.duplicates + topics.conflicts
    equations = [
        Equation("lines produced = accepted + quarantined + sent twice + in conflict", topics.produced, explained),
        Equation("no rated item is unbilled", 0, len(unbilled)),
    ]
    if direct is not None:
        total = sum(fact.amount_minor for fact in topics.accepted if fact.currency == direct.currency)
        equations += [
            Equation("lines accepted = purchases in a direct reading", direct.count, len(topics.accepted)),
            Equation(
                f"sum accepted = sum of a direct reading, {direct.currency} minor units", direct.amount_minor, total
            ),
        ]
    return tuple(equations)


def _facts(connection: Connection, table: FromClause, identity: ColumnElement[str]) -> tuple[Fact, ...]:
    rows = connection.execute(select(identity, table.c.amount_minor, table.c.currency).order_by(identity))
    return tuple(Fact(row[0], row[1], row[2]) for row in rows)


def _billed(connection: Connection) -> tuple[Fact, ...]:
    allocation = line_allocation.c
    query = (
        select(allocation.rated_item_id, allocation.amount_minor, invoice.c.currency)
        .join(invoice_line, invoice_line.c.id == allocation.line_id)
        .join(invoice, invoice.c.id == invoice_line.c.invoice_id)
    )
    return tuple(Fact(*row) for row in connection.execute(query))


def _unbilled(connection: Connection) -> tuple[Fact, ...]:
    item = rated_item.c
    query = (
        select(item.id, item.amount_minor, item.currency)
        .outerjoin(line_allocation, line_allocation.c.rated_item_id == item.id)
        .where(line_allocation.c.rated_item_id.is_(None))
    )
    return tuple(Fact(*row) for row in connection.execute(query))


def _lines(connection: Connection) -> tuple[Fact, ...]:
    line = invoice_line.c
    query = select(line.id, line.amount_minor, invoice.c.currency).join(invoice, invoice.c.id == line.invoice_id)
    return tuple(Fact(*row) for row in connection.execute(query))


def _invoices(connection: Connection, *, payable: bool = False) -> tuple[Fact, ...]:
    query = select(invoice.c.id, invoice.c.total_minor, invoice.c.currency)
    if payable:
        query = query.where(invoice.c.total_minor > 0)
    return tuple(Fact(*row) for row in connection.execute(query))


def _issued(connection: Connection) -> tuple[Fact, ...]:
    return _posted(connection, "invoice.issue", 1)


def _captured(connection: Connection) -> tuple[Fact, ...]:
    return _posted(connection, "payment.capture", -1)


def _posted(connection: Connection, purpose: str, sign: int) -> tuple[Fact, ...]:
    """What the journal moved on the receivable for one purpose: cause and amount."""
    query = (
        select(journal_tx.c.cause_id, journal_entry.c.amount_minor * sign, journal_entry.c.currency)
        .join(journal_entry, journal_entry.c.tx_id == journal_tx.c.id)
        .where(journal_tx.c.purpose == purpose, journal_entry.c.account == RECEIVABLE)
    )
    return tuple(Fact(*row) for row in connection.execute(query))


def _ordered(connection: Connection) -> tuple[Fact, ...]:
    intent = payment_intent.c
    query = select(intent.invoice_id, intent.amount_minor, intent.currency)
    return tuple(Fact(*row) for row in connection.execute(query))


def _intents(connection: Connection) -> tuple[Fact, ...]:
    intent = schema.effect_intent.c
    query = select(intent.intent_id, intent.amount_minor, intent.currency)
    return tuple(Fact(*row) for row in connection.execute(query))


def _payments(connection: Connection) -> tuple[Payment, ...]:
    """Each intent with its last attempt, and its fee where a settlement has told one."""
    attempt, intent = schema.effect_attempt.c, schema.effect_intent.c
    last = select(attempt.intent_id, func.max(attempt.attempt_number).label("n")).group_by(attempt.intent_id).subquery()
    query = (
        select(
            intent.intent_id,
            attempt.provider_object_id,
            attempt.captured_minor,
            intent.amount_minor,
            intent.currency,
            attempt.fee_minor,
            attempt.state,
        )
        .join(last, last.c.intent_id == intent.intent_id)
        .join(schema.effect_attempt, (attempt.intent_id == last.c.intent_id) & (attempt.attempt_number == last.c.n))
        .order_by(intent.intent_id)
    )
    payments = []
    for row in connection.execute(query):
        status = STATUS[State(row.state)]
        amount = row.captured_minor if status == CAPTURED else row.amount_minor
        payments.append(
            Payment(row.intent_id, row.provider_object_id, amount, row.currency, row.fee_minor, status),
        )
    return tuple(payments)


def _inbox_counts(connection: Connection) -> tuple[tuple[str, int], ...]:
    conflicts = connection.execute(select(func.count()).select_from(schema.inbox_conflict)).scalar_one()
    lines = connection.execute(select(func.count()).select_from(external_record)).scalar_one()
    return (("inbox conflicts kept", conflicts), ("settlement lines kept", lines))
