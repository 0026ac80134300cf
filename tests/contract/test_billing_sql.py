"""Ledger and billing on every database: the same flow gives the same books, and the same attacks are refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import date

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from tests.support.databases import fresh_postgres_database
from tests.unit.billing.in_memory import Billing
from tests.unit.billing.provider import FakeProvider
from tests.unit.ledger.journal_breakers import ACCOUNTS, BREAKERS, GOOD, ONLY_POSTGRESQL, ONLY_SQLITE, insert_tx

from tallystick.billing import tables as billing_tables
from tallystick.billing.controls import run_checks
from tallystick.billing.reconciliation_source import FOLDED_TOPICS, collect_evidence, fold_topics
from tallystick.billing.settling import book_settlement
from tallystick.boundary.database import open_database, reading
from tallystick.ledger.journal import JournalConflict, post, transfer
from tallystick.ledger.money import Money
from tallystick.ledger.statement import read_statement
from tallystick.ledger.tables import create_tables
from tallystick.reconciliation.reconcile import reconcile
from tallystick.servers import PostgreSQL

AS_OF = date(1998, 6, 30)
LINES = [
    f"{customer:05d} {customer:04d} 1997{month:02d}15  1   {amount}.{customer % 100:02d}".encode()
    for customer in range(1, 21)
    for month, amount in ((1, customer), (1, customer), (2, 3 * customer), (12, 7))
]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def journal(engine: Engine) -> Engine:
    create_tables(engine, ACCOUNTS)
    with engine.begin() as connection:
        connection.execute(text(insert_tx("seed", GOOD)))
    return engine


def dump(engine: Engine, *names: str) -> list[object]:
    with reading(engine) as connection:
        return [
            tuple(row)
            for name in names
            for row in connection.execute(text(f"SELECT * FROM {name} ORDER BY 1, 2"))  # noqa: S608
        ]


def is_refused(engine: Engine, *statements: str) -> bool:
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
    except DBAPIError:
        return True
    return False


@pytest.mark.parametrize("name", sorted(BREAKERS))
def test_nothing_breaks_the_journal(journal: Engine, name: str) -> None:
    books = ("ledger_account", "journal_tx", "journal_entry")
    before = dump(journal, *books)
    assert is_refused(journal, BREAKERS[name])
    assert dump(journal, *books) == before


def test_nothing_that_only_this_database_can_say_breaks_the_journal(journal: Engine) -> None:
    books = ("ledger_account", "journal_tx", "journal_entry")
    before = dump(journal, *books)
    attacks = ONLY_SQLITE if journal.dialect.name == "sqlite" else ONLY_POSTGRESQL
    for name, statement in attacks.items():
        refused = is_refused(journal, statement)
        assert dump(journal, *books) == before, name
        assert refused or (name == "upserted" and journal.dialect.name == "sqlite"), name


def test_posting_is_once_and_another_content_is_a_conflict(journal: Engine) -> None:
    def issue(minor: int) -> bool:
        tx = transfer(
            cause_id="i",
            purpose="issue",
            effective_on=AS_OF,
            debit="receivable",
            credit="revenue",
            amount=Money(minor, "USD"),
            party="Zoë's \\ %s :x",
        )
        with journal.begin() as connection:
            return post(connection, tx)

    assert issue(5)
    assert not issue(5)
    with pytest.raises(JournalConflict):
        issue(6)


class World:
    """The whole flow over one database."""

    def __init__(self, url: str, engine: Engine) -> None:
        self.billing = Billing(url, batch=13)
        self.engine = engine
        self.provider = FakeProvider(engine)
        self.billing.ingest(LINES)
        self.billing.ingest([b"bad"], first_line=5000)
        self.billing.ingest(LINES[:5])
        self.billing.run(replays=1)
        accounts = sorted({(record.key or b"").decode() for record in self.billing.topics.of("usage.rated")})
        self.billing.close_accounts(accounts, through="1998-06")
        self.billing.run(replays=1)


@pytest.fixture
def world(database_url: str, engine: Engine) -> Iterator[World]:
    world = World(database_url, engine)
    yield world
    world.billing.close()


def test_the_whole_flow_reconciles(world: World) -> None:
    world.provider.dispatch()
    lines = read_statement(world.provider.settlement(), place="test")
    for _ in range(2):
        book_settlement(world.engine, lines, statement_id="test", settled_on=AS_OF)
    topics = fold_topics({topic: world.billing.topics.of(topic) for topic in FOLDED_TOPICS})
    result = reconcile(collect_evidence(world.engine, topics), lines, as_of=AS_OF)
    assert [control for control in result.controls if not control.holds] == []
    assert result.certificate.status == "COMPLETE"
    counts = dict(result.certificate.counts)
    assert (counts["lines accepted"], counts["lines sent twice"], counts["payments captured"]) == (80, 5, 60)


def test_creating_the_tables_again_changes_nothing(world: World) -> None:
    before = dump(world.engine, "invoice", "ledger_account")
    billing_tables.create_tables(world.engine)
    assert dump(world.engine, "invoice", "ledger_account") == before


ONE_INVOICE = "(SELECT id FROM invoice WHERE number = 1)"
ONE_LINE = f"(SELECT id FROM invoice_line WHERE invoice_id = {ONE_INVOICE} LIMIT 1)"  # noqa: S608
NEW_INVOICE = (
    "INSERT INTO invoice SELECT 'new', issuer, 10000, account, currency, '1999-01', kind, ordinal, issued_on, {count}, "
    "{lines}, 0, 0, {total} FROM invoice WHERE number = 1"
)
NEW_LINE = "INSERT INTO invoice_line VALUES ('new-line', 'new', 0, 'purchase', '', 1, {amount})"
NEW_ITEM = (
    "INSERT INTO rated_item SELECT 'new-item', 'new-event', tenant, source, line_number, account, charge_id, "
    "occurred_on, period, quantity, 50, currency FROM rated_item LIMIT 1"
)
NEW_ALLOCATION = "INSERT INTO line_allocation VALUES ('new-item', 'new-line', {amount})"


def whole(*, count: int = 1, lines: int = 50, total: int = 50, line: int = 50, allocated: int = 50) -> list[str]:
    return [
        NEW_ITEM,
        NEW_LINE.format(amount=line),
        NEW_ALLOCATION.format(amount=allocated),
        NEW_INVOICE.format(count=count, lines=lines, total=total),
    ]


INVOICE_BREAKERS: dict[str, list[str]] = {
    "changed total": ["UPDATE invoice SET total_minor = 0, lines_minor = 0"],
    "changed line": ["UPDATE invoice_line SET amount_minor = 0"],
    "changed allocation": ["UPDATE line_allocation SET amount_minor = 0"],
    "changed rated item": ["UPDATE rated_item SET amount_minor = 0"],
    "changed intent": ["UPDATE payment_intent SET amount_minor = 1"],
    "removed invoice": ["DELETE FROM invoice"],
    "removed line": ["DELETE FROM invoice_line"],
    "removed allocation": ["DELETE FROM line_allocation"],
    "removed rated item": ["DELETE FROM rated_item"],
    "a line more": [f"INSERT INTO invoice_line VALUES ('x', {ONE_INVOICE}, 9, 'more', '', 1, 0)"],  # noqa: S608
    "an allocation more": [
        NEW_ITEM,
        f"INSERT INTO line_allocation VALUES ('new-item', {ONE_LINE}, 50)",  # noqa: S608
    ],
    "an item allocated twice": [
        "INSERT INTO invoice_line VALUES ('new-line', 'new', 0, 'purchase', '', 1, 0)",
        "INSERT INTO line_allocation SELECT id, 'new-line', amount_minor FROM rated_item LIMIT 1",
    ],
    "a line without an invoice": [NEW_LINE.format(amount=50)],
    "an invoice without lines": [NEW_INVOICE.format(count=1, lines=50, total=50)],
    "an invoice that is not the sum of its lines": whole(lines=51, total=51),
    "an invoice with another number of lines": whole(count=2),
    "a total that is not lines less discounts plus taxes": whole(total=49),
    "a line that is not the sum of its allocations": whole(lines=60, total=60, line=60),
    "half an item": whole(lines=25, total=25, line=25, allocated=25),
    "a capture of more than was ordered": [
        (
            "INSERT INTO payment_capture SELECT id, 'a', 'stripe', 'ch_x', amount_minor + 1, currency "
            "FROM payment_intent LIMIT 1"
        )
    ],
    "a capture in another currency": [
        "INSERT INTO payment_capture SELECT id, 'a', 'stripe', 'ch_x', amount_minor, 'EUR' FROM payment_intent LIMIT 1"
    ],
}
BILLING = ("rated_item", "invoice", "invoice_line", "line_allocation", "payment_intent", "payment_capture")


def test_nothing_breaks_an_invoice(world: World) -> None:
    before = dump(world.engine, *BILLING)
    for name, statements in INVOICE_BREAKERS.items():
        assert is_refused(world.engine, *statements), name
        assert dump(world.engine, *BILLING) == before, name
    assert not is_refused(world.engine, *whole())  # the same statements with right figures go through


def test_replacing_a_row_is_refused_where_the_database_can_replace(world: World) -> None:
    if world.engine.dialect.name != "sqlite":
        statements = [f"TRUNCATE {name} CASCADE" for name in BILLING]
    else:
        statements = [
            f"INSERT OR REPLACE INTO {name} SELECT * FROM {name} LIMIT 1"  # noqa: S608
            for name in BILLING
            if name != "payment_capture"
        ]
    before = dump(world.engine, *BILLING)
    for statement in statements:
        assert is_refused(world.engine, statement), statement
    assert dump(world.engine, *BILLING) == before


@pytest.mark.postgres
def test_a_line_written_while_its_invoice_is_issued_elsewhere_is_refused(postgres_server: PostgreSQL) -> None:
    """Two transactions at once: the line is written before the invoice is committed, and committed after it.

    PostgreSQL only: SQLite has one writer, so that its second transaction begins when the first has ended.
    """
    with fresh_postgres_database(postgres_server) as url:
        engine = open_database(url)
        world = World(url, engine)
        with engine.connect() as stray:
            transaction = stray.begin()
            stray.execute(text("INSERT INTO invoice_line VALUES ('stray', 'new', 1, 'stray', '', 1, 1)"))
            assert not is_refused(engine, *whole())
            with pytest.raises(DBAPIError, match="do not add up"):
                transaction.commit()
        with reading(engine) as connection:
            stored = connection.execute(text("SELECT id FROM invoice_line WHERE invoice_id = 'new'")).scalars().all()
        assert list(stored) == ["new-line"]
        world.billing.close()
        engine.dispose()


def test_two_workers_take_invoice_numbers_without_gaps_or_repeats(database_url: str) -> None:
    first, second = Billing(database_url, batch=5), Billing(database_url, batch=5)
    first.ingest(LINES[:40])
    second.ingest(LINES[40:], first_line=2001)
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  shown below
            failures.append(error)

    for prepare in (False, True):
        if prepare:
            first.close_accounts([f"cdnow:{number:05d}" for number in range(1, 11)], through="1998-06")
            second.close_accounts([f"cdnow:{number:05d}" for number in range(11, 21)], through="1998-06")
        threads = [threading.Thread(target=run, args=(billing.run,)) for billing in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert failures == []
    engine = open_database(database_url)
    with reading(engine) as connection:
        numbers = connection.execute(text("SELECT number FROM invoice ORDER BY number")).scalars().all()
        assert run_checks(connection) == []
    assert list(numbers) == list(range(1, 61))
    engine.dispose()
    first.close()
    second.close()
