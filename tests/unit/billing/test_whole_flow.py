"""From lines to certificate on SQLite, with replays, repeats and bad lines; Kafka and HTTP left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine, text
from tests.unit.billing.in_memory import Billing
from tests.unit.billing.provider import FakeProvider

from tallystick.billing.charges import PROVIDER, on_outcome, retry_absent
from tallystick.billing.controls import run_checks
from tallystick.billing.reconciliation_source import FOLDED_TOPICS, Totals, collect_evidence, fold_topics
from tallystick.billing.settling import StatementConflict, book_settlement
from tallystick.boundary.database import open_database, reading
from tallystick.boundary.effect_ledger import Attempt, Notice
from tallystick.boundary.effects import State
from tallystick.boundary.provider import Outcome, OutcomeKind
from tallystick.ledger.journal import balances
from tallystick.ledger.statement import read_statement
from tallystick.reconciliation.model import BreakType
from tallystick.reconciliation.reconcile import Reconciliation, reconcile

AS_OF = date(1998, 6, 30)
LINES = (
    b"00004 0001 19970101  2   29.33",
    b"00004 0001 19970101  2   29.33",  # bought twice, billed twice
    b"00004 0001 19970118  2   29.73",
    b"00004 0001 19970802  1   14.96",
    b"00021 0002 19970101  3   63.34",
    b"00021 0002 19970113  1    0.00",
    b"00050 0003 19970201  1    0.00",  # an invoice of nothing
    b"00071 0004 19970101  1    0.05",
)
BAD = (
    b"00099 0005 19970101",
    b"",
    b"\xff\xfe 1 2 3 4",
    b"00099 0005 19970230  1   1.00",
    b"00099 0005 19970101 1 1.005",
)
DIRECT = Totals(len(LINES), 2933 + 2933 + 2973 + 1496 + 6334 + 5, "USD")
ACCOUNTS = ("cdnow:00004", "cdnow:00021", "cdnow:00050", "cdnow:00071")


def five_cents(kind: OutcomeKind) -> Callable[[Attempt], OutcomeKind]:
    """That answer for the charge of five cents, success for all others."""
    return lambda attempt: kind if attempt.amount_minor == 5 else OutcomeKind.SUCCEEDED


class World:
    def __init__(self, url: str) -> None:
        self.billing = Billing(url)
        self.engine: Engine = open_database(url)
        self.provider = FakeProvider(self.engine)

    def until_invoiced(self, *, replays: int = 0) -> None:
        self.billing.ingest(LINES)
        self.billing.ingest(BAD, first_line=1001)
        self.billing.ingest(LINES[:3])  # sent twice
        self.billing.run(replays=replays)
        self.billing.close_accounts(ACCOUNTS, through="1998-06")
        self.billing.run(replays=replays)

    def reconcile(self, *, settlement: list[str] | None = None, book: bool = True) -> Reconciliation:
        lines = read_statement(self.provider.settlement() if settlement is None else settlement, place="test")
        if book:
            book_settlement(self.engine, lines, statement_id="test", settled_on=AS_OF)
        topics = fold_topics({topic: self.billing.topics.of(topic) for topic in FOLDED_TOPICS})
        return reconcile(collect_evidence(self.engine, topics, direct=DIRECT), lines, as_of=AS_OF)

    def count(self, table: str) -> int:
        with reading(self.engine) as connection:
            return int(connection.execute(text(f"SELECT COUNT(*) FROM {table}")).scalar_one())  # noqa: S608


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(f"sqlite:///{tmp_path}/billing.sqlite")
    yield world
    world.billing.close()
    world.engine.dispose()


def broken(result: Reconciliation) -> list[str]:
    return [control.name for control in result.controls if not control.holds]


@pytest.mark.parametrize("replays", [0, 2])
def test_every_line_is_billed_charged_and_settled_once(world: World, replays: int) -> None:
    world.until_invoiced(replays=replays)
    assert world.provider.dispatch() == 4
    result = world.reconcile()

    assert broken(result) == []
    assert result.certificate.status == "COMPLETE"
    assert dict(result.certificate.counts) == {
        "lines produced": 16,
        "lines accepted": 8,
        "lines quarantined": 5,
        "lines sent twice": 3,
        "lines in conflict with an earlier one": 0,
        "items unbilled": 0,
        "payments captured": 4,
        "payments declined": 0,
        "payments open": 0,
        "payments unknown": 0,
        "inbox conflicts kept": 0,
        "settlement lines kept": 4,
    }
    assert (world.count("invoice"), world.count("payment_intent")) == (5, 4)
    with reading(world.engine) as connection:
        fees = 30 + 30 + 30 + 5
        assert balances(connection) == {
            ("receivable", "USD"): 0,
            ("revenue", "USD"): -DIRECT.amount_minor,
            ("provider_clearing", "USD"): DIRECT.amount_minor - fees,
            ("provider_fees", "USD"): fees,
        }


def test_the_certificate_does_not_depend_on_replays_batches_or_order(tmp_path: Path) -> None:
    certificates = []
    for number, (replays, batch) in enumerate(((0, 100), (1, 3))):
        world = World(f"sqlite:///{tmp_path}/{number}.sqlite")
        world.billing._batch = batch
        world.until_invoiced(replays=replays)
        world.provider.dispatch()
        document = world.reconcile().certificate.document()
        # the provider's ids differ between two databases, whose provider keys are secret and random
        ours = [total for total in document["totals"] if not total["stage"].startswith(("books: captures by", "settl"))]
        certificates.append((ours, document["counts"], document["status"]))
        world.billing.close()
        world.engine.dispose()
    assert certificates[0] == certificates[1]
    assert certificates[0][2] == "COMPLETE"


def test_a_bad_line_goes_to_quarantine_with_its_reason_and_its_bytes(world: World) -> None:
    world.until_invoiced()
    quarantined = [record.value or b"" for record in world.billing.topics.of("usage.quarantine")]
    assert len(quarantined) == len(BAD)
    reasons = b" ".join(quarantined).decode()
    for reason in ("3 fields, not 5", "0 fields, not 5", "no number", "day is out of range", "more decimals"):
        assert reason in reasons
    assert '"line\\":\\"\u00ff\u00fe 1 2 3 4' in reasons


def test_the_same_line_number_with_another_body_is_kept_as_a_conflict_and_not_billed(world: World) -> None:
    world.until_invoiced()
    world.billing.ingest([b"00004 0001 19970101  2   99.99"])
    world.billing.run()
    world.provider.dispatch()
    result = world.reconcile()
    assert result.certificate.status == "COMPLETE"  # explained: counted and kept, nothing of it in the books
    counts = dict(result.certificate.counts)
    assert counts["lines in conflict with an earlier one"] == counts["inbox conflicts kept"] == 1


def test_late_usage_is_invoiced_by_the_next_close(world: World) -> None:
    world.until_invoiced()
    world.billing.ingest([b"00004 0001 19970131  1   10.00"], first_line=500)
    world.billing.run()
    world.provider.dispatch()
    assert "no rated item is unbilled" in broken(world.reconcile())
    world.billing.close_accounts(ACCOUNTS, through="1998-06")  # the same command again: nothing
    world.billing.run()
    assert world.count("invoice") == 5
    world.billing.close_accounts(ACCOUNTS, through="1998-06", ordinal=1)
    world.billing.run()
    assert world.count("invoice") == 6
    with reading(world.engine) as connection:
        late = connection.execute(text("SELECT period, ordinal, number, total_minor FROM invoice ORDER BY number"))
        assert tuple(late.all()[-1]) == ("1997-01", 1, 6, 1000)
        assert run_checks(connection) == []


def test_two_closes_of_one_account_in_one_batch_bill_its_items_once(world: World) -> None:
    world.billing.ingest(LINES)
    world.billing.run()
    for ordinal in (0, 1):
        world.billing.close_accounts(ACCOUNTS[:1], through="1998-06", ordinal=ordinal)
    world.billing.run()
    assert world.count("invoice") == 2  # January and August
    assert world.billing.poisoned == []


def test_a_month_that_is_not_closed_yet_stays_unbilled(world: World) -> None:
    world.billing.ingest(LINES)
    world.billing.run()
    world.billing.close_accounts(ACCOUNTS, through="1997-01")
    world.billing.run()
    with reading(world.engine) as connection:
        assert set(connection.execute(text("SELECT DISTINCT period FROM invoice")).scalars()) == {"1997-01"}
    world.billing.close_accounts(ACCOUNTS, through="1997-12")
    world.billing.run()
    assert world.count("line_allocation") == len(LINES)


def test_a_charge_with_a_lost_answer_is_at_risk_until_it_is_settled(world: World) -> None:
    world.until_invoiced()
    world.provider.dispatch(five_cents(OutcomeKind.UNKNOWN))
    result = world.reconcile()
    assert [payment.amount_minor for payment in result.at_risk] == [5]
    assert [(one.type, one.value_minor) for one in result.matching.breaks] == [(BreakType.STATUS, 5)]
    assert result.certificate.status == "FAILED"

    assert world.provider.dispatch() == 1  # the same bytes under the same key
    result = world.reconcile()
    assert broken(result) == []
    assert result.certificate.status == "COMPLETE"
    with reading(world.engine) as connection:
        assert run_checks(connection) == []


def test_a_declined_charge_books_nothing_and_leaves_the_invoice_open(world: World) -> None:
    world.until_invoiced()
    world.provider.dispatch(
        lambda attempt: OutcomeKind.DECLINED if attempt.amount_minor == 5 else OutcomeKind.SUCCEEDED
    )
    assert world.reconcile().certificate.status == "COMPLETE"
    with reading(world.engine) as connection:
        assert balances(connection)["receivable", "USD"] == 5
    assert world.count("tallystick_outbox") == 4


def test_only_a_charge_that_certainly_did_not_happen_is_ordered_again(world: World) -> None:
    world.until_invoiced()
    assert retry_absent(world.engine, world.provider.ledger) == 0
    world.provider.dispatch(five_cents(OutcomeKind.UNKNOWN))
    assert retry_absent(world.engine, world.provider.ledger) == 0
    with world.engine.begin() as connection:
        connection.execute(
            text("UPDATE tallystick_effect_attempt SET state = 'ABSENT_CONFIRMED' WHERE state = 'UNKNOWN'")
        )
    world.provider.charges = {id_: charge for id_, charge in world.provider.charges.items() if charge[0] != 5}
    assert retry_absent(world.engine, world.provider.ledger) == 1
    assert retry_absent(world.engine, world.provider.ledger) == 0
    assert world.provider.dispatch() == 1
    assert world.reconcile().certificate.status == "COMPLETE"
    attempts = world.provider.ledger.attempts(states=[State.SUCCEEDED])
    assert sorted(attempt.attempt_number for attempt in attempts) == [1, 1, 1, 2]


def test_a_settlement_that_is_read_twice_books_once_and_one_that_changed_is_refused(world: World) -> None:
    world.until_invoiced()
    world.provider.dispatch()
    lines = read_statement(world.provider.settlement(), place="test")
    first = book_settlement(world.engine, lines, statement_id="a", settled_on=AS_OF)
    again = book_settlement(world.engine, lines, statement_id="b", settled_on=date(1998, 7, 1))
    assert (first.new_lines, first.known_lines, first.postings) == (4, 0, 4)
    assert (again.new_lines, again.known_lines, again.postings) == (0, 4, 0)
    with pytest.raises(StatementConflict, match="told otherwise"):
        book_settlement(world.engine, [replace(lines[0], fee_minor=1, net_minor=0)], statement_id="c", settled_on=AS_OF)


def test_a_charge_in_the_settlement_that_we_do_not_know_is_a_break(world: World) -> None:
    world.until_invoiced()
    world.provider.dispatch()
    stray = "txn_x,charge,777,30,747,USD,ch_stray,nobody,1700000000"
    result = world.reconcile(settlement=[*world.provider.settlement(), stray])
    assert [(one.type, one.value_minor) for one in result.matching.breaks] == [(BreakType.MISSING_INTERNAL, 777)]
    assert result.certificate.status == "FAILED"
    with reading(world.engine) as connection:
        assert balances(connection)["provider_fees", "USD"] == 95  # none for a charge that is not ours
        assert run_checks(connection) == []


def test_a_customer_who_paid_twice_has_the_second_payment_in_suspense_and_owes_nothing(world: World) -> None:
    world.until_invoiced()
    world.provider.dispatch()
    (attempt, *_) = world.provider.ledger.attempts()
    second = Outcome(OutcomeKind.SUCCEEDED, "ch_second", amount_minor=attempt.amount_minor, currency="usd")
    for _ in range(2):  # a webhook comes again
        with world.engine.begin() as connection:
            notice = Notice(PROVIDER, second, provider_key=attempt.provider_key)
            world.provider.ledger.tell(connection, notice, on_outcome)
    with reading(world.engine) as connection:
        booked = balances(connection)
        assert run_checks(connection) == []
    assert booked["suspense", "USD"] == -attempt.amount_minor
    assert booked["provider_clearing", "USD"] == DIRECT.amount_minor + attempt.amount_minor
    assert booked["receivable", "USD"] == 0
    assert world.count("tallystick_outbox") == 5
    with world.engine.begin() as connection:
        connection.execute(text("UPDATE tallystick_effect_suspense SET amount_minor = amount_minor + 1"))
        assert [finding.invariant for finding in run_checks(connection)] == [7, 7]


def test_a_cent_less_in_the_books_fails_the_certificate(world: World) -> None:
    world.until_invoiced()
    world.provider.dispatch()
    with world.engine.begin() as connection:  # past the triggers, as a person with a shell could
        connection.execute(text("DROP TRIGGER rated_item_no_UPDATE".replace("UPDATE", "update")))
        connection.execute(text("UPDATE rated_item SET amount_minor = amount_minor - 1 WHERE amount_minor = 5"))
    result = world.reconcile()
    assert result.certificate.status == "FAILED"
    assert "no invariant of the books is violated" in broken(result)


def test_a_record_that_contradicts_its_id_fails_alone(world: World) -> None:
    world.billing.ingest(LINES)
    world.billing.run()
    rated = world.billing.topics.of("usage.rated")
    strange = msgspec.structs.replace(rated[0], event_id=rated[1].event_id, offset=99)
    collect = world.billing._steps[2][2]
    outputs = collect.process([strange])  # its id is known, with another body
    assert outputs == [()]
    assert world.count("tallystick_inbox_conflict") == 1
