"""``tallystick effects``: what is unknown is listed with its value, settled with a reason, exported."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.boundary import POLICY, create_intents, success
from typer.testing import CliRunner, Result

from tallystick.boundary import Attempt, EffectLedger, Outcome, OutcomeKind, create_tables, open_database
from tallystick.cli.main import app
from tallystick.clock import SystemClock
from tallystick.errors import ConfigurationError


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'x.sqlite'}"


@pytest.fixture
def ledger(database: str) -> Iterator[EffectLedger]:
    engine = open_database(database)
    create_tables(engine)
    yield EffectLedger(engine)
    engine.dispose()


@pytest.fixture
def unknown(ledger: EffectLedger) -> Attempt:
    """One of two intents, whose answer never came; it may not be sent again."""
    create_intents(ledger.engine, ledger, 2)
    sent = ledger.mark_sent(
        ledger.claim(provider="stripe", owner="a", limit=2, lease_ms=60_000), policy=POLICY, lease_ms=60_000
    )
    first, second = sorted(sent, key=lambda attempt: attempt.amount_minor)
    lost = Outcome(OutcomeKind.UNKNOWN, replayed_failure=True)
    ledger.record(
        [(first, lost), (second, success(101))], lambda _connection, _attempt, _outcome: None, retry_ms=1_000_000
    )
    return first


def effects(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["effects", *arguments])


def test_unknown_outcomes_are_listed_with_the_value_at_risk(database: str, unknown: Attempt) -> None:
    shown = effects("list", "--database", database).stdout
    assert unknown.attempt_id in shown
    assert "stripe UNKNOWN: 1 attempts, 100 USD in minor units" in shown
    (row,) = [json.loads(line) for line in effects("list", "--database", database, "--json").stdout.splitlines()]
    assert (row["state"], row["amount_minor"], row["next"]) == ("UNKNOWN", 100, "is looked up")


def test_other_states_are_listed_by_name(database: str, unknown: Attempt) -> None:
    rows = effects("list", "--database", database, "--state", "succeeded", "--json").stdout.splitlines()
    assert [json.loads(row)["amount_minor"] for row in rows] == [101]
    wrong = effects("list", "--database", database, "--state", "lost")
    assert isinstance(wrong.exception, ConfigurationError)


def test_an_attempt_is_shown_with_its_bytes_and_rulings(database: str, unknown: Attempt) -> None:
    settle(database, unknown, "--as", "absent")
    document = json.loads(effects("show", unknown.attempt_id, "--database", database, "--json").stdout)
    assert "amount=100" in document["request"]
    assert unknown.provider_key not in json.dumps(document)
    assert [(each["to"], each["by"], each["reason"]) for each in document["rulings"]] == [
        ("ABSENT_CONFIRMED", "ann", "the bank says so")
    ]
    assert effects("show", unknown.attempt_id, "--database", database).exit_code == 0


def settle(database: str, attempt: Attempt, *more: str) -> Result:
    common = ("--database", database, "--reason", "the bank says so", "--by", "ann", "--without-books")
    return effects("resolve", attempt.attempt_id, *common, *more)


def test_a_person_settles_with_a_reason_and_nothing_is_sent(
    database: str, ledger: EffectLedger, unknown: Attempt
) -> None:
    done = settle(database, unknown, "--as", "succeeded", "--object", "ch_9")
    assert "is SUCCEEDED, by ann: the bank says so" in done.stdout
    assert "no outcome is unknown" in effects("list", "--database", database).stderr
    found = ledger.attempt(unknown.attempt_id)
    assert found is not None
    assert (found.times_sent, found.provider_object_id) == (1, "ch_9")


def test_who_books_has_to_be_said(database: str, unknown: Attempt) -> None:
    arguments = ("resolve", unknown.attempt_id, "--database", database, "--as", "absent", "--reason", "x")
    refused = effects(*arguments)
    assert isinstance(refused.exception, ConfigurationError)
    assert "rule 34" in str(refused.exception)
    booked = effects(*arguments, "--books", "tests.unit.cli.test_effects:remember")
    assert booked.exit_code == 0, booked.exception
    assert [unknown.attempt_id] == REMEMBERED


REMEMBERED: list[str] = []


def remember(_connection: object, attempt: Attempt, _outcome: Outcome) -> None:
    REMEMBERED.append(attempt.attempt_id)


def test_the_register_is_exported_without_keys_and_bytes(database: str, unknown: Attempt, tmp_path: Path) -> None:
    (row,) = csv.DictReader(io.StringIO(effects("export", "--database", database).stdout))
    assert (row["attempt_id"], row["state"], row["amount_minor"]) == (unknown.attempt_id, "UNKNOWN", "100")
    assert not row.keys() & {"provider_key", "request"}
    target = tmp_path / "register.json"
    effects("export", "--database", database, "--format", "json", "--output", str(target))
    assert [json.loads(line)["attempt_id"] for line in target.read_text().splitlines()] == [unknown.attempt_id]


def test_suspense_is_listed_and_closed_with_a_reason(database: str, ledger: EffectLedger, unknown: Attempt) -> None:
    (settled,) = [each for each in ledger.attempts() if each.amount_minor == 101]
    with ledger.engine.begin() as connection:
        ledger.record_late_success(connection, settled, success(101, object_id="ch_twice"))
    (row,) = effects("suspense", "--database", database, "--json").stdout.splitlines()
    assert json.loads(row)["proposed_refund_minor"] == 101
    assert "1 successes that must not exist" in effects("list", "--database", database).stdout
    closing = ("suspense", "--database", database, "--close", "ch_twice")
    assert effects(*closing).exit_code != 0
    effects(*closing, "--provider", "stripe", "--reason", "refunded", "--by", "ann")
    assert ledger.suspense() == ()
    assert SystemClock().now_ms() >= (ledger.suspense(closed=True)[0].closed_at_ms or 0)
