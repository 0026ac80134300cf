"""A settlement file settles what it names, once; a file that is wrong anywhere settles nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.support.boundary import POLICY, create_intents
from typer.testing import CliRunner

from tallystick.boundary import Attempt, EffectLedger, Outcome, OutcomeKind, State
from tallystick.boundary.settlement_notices import settlement_notices
from tallystick.cli.main import app
from tallystick.errors import CorruptData

HEADER = "id,type,amount_minor,fee_minor,net_minor,currency,reference,intent_reference,created"


def notices(*lines: str) -> list[Outcome]:
    return [each.outcome for each in settlement_notices([HEADER, *lines], provider="stripe", place="s.csv")]


def test_a_charge_is_a_success_with_its_fee_and_other_movements_say_nothing() -> None:
    (outcome,) = notices("txn_1,charge,100,33,67,USD,ch_1,r-1,1", "txn_2,refund,-50,0,-50,USD,ch_1,r-1,2")
    assert outcome == replace(
        Outcome(OutcomeKind.SUCCEEDED, "ch_1", 100, 33, "USD"),
        code="settlement",
    )


@pytest.mark.parametrize("line", ["txn,charge,1.00,0,1,USD,ch,r,1", "txn,charge,100", 'txn,"charge,100,0,1,USD,c,r,1'])
def test_a_wrong_line_is_named_with_its_place(line: str) -> None:
    with pytest.raises(CorruptData, match=r"s\.csv:[23]"):
        notices("txn_1,charge,100,33,67,USD,ch_1,r-1,1", line)


def test_a_file_without_a_column_is_refused() -> None:
    with pytest.raises(CorruptData, match="intent_reference"):
        list(settlement_notices(["id,type"], provider="stripe", place="s.csv"))


def test_the_command_settles_what_is_unknown_and_reads_a_file_twice_without_harm(
    engine: Engine, tmp_path: Path
) -> None:
    ledger = EffectLedger(engine)
    (intent_id,) = create_intents(engine, ledger, 1)
    claimed = ledger.claim(provider="stripe", owner="a", limit=1, lease_ms=60_000)
    (sent,) = ledger.mark_sent(claimed, policy=POLICY, lease_ms=60_000)
    ledger.record([(sent, Outcome(OutcomeKind.UNKNOWN))], _nothing)
    file = tmp_path / "settlement.csv"
    file.write_text("\n".join((HEADER, f"t1,charge,100,33,67,USD,ch_1,{intent_id},1", "t2,charge,5,0,5,USD,ch_2,x,1")))
    arguments = ["effects", "settlement", str(file), "--database", str(engine.url), "--without-books"]
    assert CliRunner().invoke(app, arguments).stdout == "1 not-ours, 1 settled\n"
    assert CliRunner().invoke(app, arguments).stdout == "1 not-ours, 1 repeated\n"
    assert [attempt.state for attempt in ledger.attempts()] == [State.SUCCEEDED]


def _nothing(_connection: object, _attempt: Attempt, _outcome: Outcome) -> None:
    return
