"""``tallystick effects``: what was asked of providers, what is not known, and settling it by hand."""

from __future__ import annotations

import csv
import getpass
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from tallystick.cli.inbox import opened_engine
from tallystick.cli.operate.options import AsJson
from tallystick.cli.operate.screen import duration, show
from tallystick.clock import SystemClock
from tallystick.errors import ConfigurationError

if TYPE_CHECKING:
    from tallystick.boundary import Attempt, EffectLedger, OnOutcome
    from tallystick.boundary.effect_ledger.suspense import OnSuspense

effects: Final = typer.Typer(
    name="effects",
    help="Effects outside Kafka and SQL: what is unknown, how much is at risk, settling it with a reason.",
    no_args_is_help=True,
)

Database = Annotated[str, typer.Option(envvar="TALLYSTICK_DATABASE", help="sqlite:///path or postgresql://...")]
StateOption = Annotated[list[str] | None, typer.Option("--state", help="Only these states. Repeatable.")]
_COLUMNS: Final = ("Attempt", "Provider", "State", "Age", "Amount minor", "Currency", "Times sent", "Next", "Reference")
_EXPORTED: Final = (
    "attempt_id",
    "intent_id",
    "attempt_number",
    "provider",
    "operation",
    "reference",
    "amount_minor",
    "currency",
    "state",
    "times_sent",
    "created_at_ms",
    "first_sent_at_ms",
    "last_sent_at_ms",
    "resend_until_ms",
    "action_deadline_ms",
    "provider_object_id",
    "captured_minor",
    "outcome_code",
)

_SUSPENSE_EXAMPLE: Final = "tallystick.billing.charges:on_suspense"

Books = Annotated[
    str | None,
    typer.Option(help="module:attribute of the function that books outcomes, as the dispatcher has it."),
]
WithoutBooks = Annotated[
    bool, typer.Option("--without-books", help="Book nothing. Only if nothing books these outcomes.")
]


@effects.command("list")
def list_effects(database: Database, state: StateOption = None, as_json: AsJson = False) -> None:
    """List attempts whose outcome is not known, with their age and the value at risk.

    With --state, attempts in those states instead: CREATED, SUCCEEDED, DECLINED ...
    """
    from tallystick.boundary.effect_ledger.exposure import age_ms, exposures

    now_ms = SystemClock().now_ms()
    with _ledger(database) as ledger:
        attempts = _chosen(ledger, state)
        suspended = len(ledger.suspense())
    rows = [
        (
            each.attempt_id,
            each.provider,
            each.state.value,
            duration(age_ms(each, now_ms)),
            each.amount_minor,
            each.currency,
            each.times_sent,
            _next(each, now_ms),
            each.reference,
        )
        for each in attempts
    ]
    show(_COLUMNS, rows, as_json=as_json, empty="no outcome is unknown")
    if as_json:
        return
    for total in exposures(attempts, now_ms=now_ms):
        typer.echo(
            f"{total.provider} {total.state.value}: {total.attempts:,} attempts, {total.amount_minor:,} "
            f"{total.currency} in minor units, the oldest for {duration(total.oldest_ms)}"
        )
    if suspended:
        typer.echo(f"{suspended:,} successes that must not exist are in suspense: 'tallystick effects suspense'")


@effects.command("show")
def show_effect(
    attempt: Annotated[str, typer.Argument(help="The attempt's id.")], database: Database, as_json: AsJson = False
) -> None:
    """Show one attempt: its bytes without secrets, its times, what was ruled about it."""
    from tallystick.boundary.redaction import redacted

    with _ledger(database) as ledger:
        found = _one(ledger, attempt)
        rulings = ledger.rulings(attempt)
        response = ledger.response(attempt)
        siblings = ledger.attempts(intent_id=found.intent_id)
    document = {
        **_exported(found),
        "request": redacted(found.request),
        "response": None if response is None else redacted(response),
        "attempts_of_intent": [f"{each.attempt_number}: {each.state.value} {each.attempt_id}" for each in siblings],
        "rulings": [
            {
                "from": ruling.from_state.value,
                "to": ruling.to_state.value,
                "by": ruling.ruled_by,
                "reason": ruling.reason,
                "at_ms": ruling.ruled_at_ms,
            }
            for ruling in rulings
        ],
    }
    if as_json:
        typer.echo(json.dumps(document))
        return
    for name, value in document.items():
        typer.echo(f"{name + ':':<20} {json.dumps(value) if isinstance(value, list) else _told(name, value)}")


@effects.command()
def resolve(
    attempt: Annotated[str, typer.Argument(help="The attempt's id.")],
    database: Database,
    outcome: Annotated[
        Literal["succeeded", "declined", "absent"],
        typer.Option("--as", help="What happened, as you know it from the provider."),
    ],
    reason: Annotated[str, typer.Option(help="Why you know. Kept for ever.")],
    provider_object: Annotated[
        str | None, typer.Option("--object", help="The provider's id of the payment; a success needs it.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who decides. Without it: who is logged in here.")] = None,
    books: Books = None,
    without_books: WithoutBooks = False,
) -> None:
    """Settle an attempt whose outcome nobody can find out, by your word.

    Nothing is sent. The outcome, its postings and your reason are one SQL transaction. "absent" and "declined" are
    refused as long as the attempt may still be sent again by itself.
    """
    from tallystick.boundary.effect_ledger.rulings import Ruling
    from tallystick.boundary.effects import State

    on_outcome = _books(books, without_books=without_books)
    states = {"succeeded": State.SUCCEEDED, "declined": State.DECLINED, "absent": State.ABSENT_CONFIRMED}
    with _ledger(database) as ledger:
        ruling = Ruling(
            attempt_id=attempt,
            from_state=_one(ledger, attempt).state,
            to_state=states[outcome],
            provider_object_id=provider_object,
            ruled_by=getpass.getuser() if by is None else by,
            reason=reason,
            ruled_at_ms=SystemClock().now_ms(),
        )
        settled = ledger.rule(ruling, on_outcome)
    typer.echo(f"{settled.attempt_id} is {settled.state.value}, by {ruling.ruled_by}: {reason}")


@effects.command()
def suspense(
    database: Database,
    close: Annotated[str | None, typer.Option(help="The provider's id of the entry that is dealt with.")] = None,
    provider: Annotated[str | None, typer.Option(help="Its provider; needed with --close.")] = None,
    reason: Annotated[str | None, typer.Option(help="What was done; needed with --close.")] = None,
    by: Annotated[str | None, typer.Option(help="Who did it. Without it: who is logged in here.")] = None,
    as_json: AsJson = False,
) -> None:
    """List successes that must not exist, each with its proposed refund; or close one with a reason."""
    with _ledger(database) as ledger:
        if close is not None:
            if provider is None or reason is None:
                raise ConfigurationError("closing an entry needs --provider and --reason")
            with ledger.engine.begin() as connection:
                who = getpass.getuser() if by is None else by
                ledger.close_suspense(connection, provider=provider, provider_object_id=close, by=who, reason=reason)
            typer.echo(f"{close} is closed: {reason}")
            return
        entries = ledger.suspense()
    rows = [
        (
            entry.provider,
            entry.provider_object_id,
            entry.kind.value,
            entry.amount_minor,
            entry.currency,
            entry.proposed_refund_minor,
            entry.attempt_id,
        )
        for entry in entries
    ]
    columns = ("Provider", "Object", "Kind", "Amount minor", "Currency", "Proposed refund minor", "Attempt")
    show(columns, rows, as_json=as_json, empty="nothing is in suspense")


@effects.command()
def settlement(
    file: Annotated[Path, typer.Argument(help="The provider's settlement file.", exists=True, dir_okay=False)],
    database: Database,
    provider: Annotated[str, typer.Option(help="Its name in the effect ledger.")] = "stripe",
    books: Books = None,
    without_books: WithoutBooks = False,
    suspense_books: Annotated[
        str | None,
        typer.Option(help="module:attribute of the function that books what goes into suspense, as the ledger has it."),
    ] = None,
) -> None:
    """Settle unknown outcomes by the provider's settlement file: what it settled, it charged.

    A file may be read as often as you like. A charge that must not exist goes into suspense.
    """
    from collections import Counter

    from tallystick.boundary.settlement_notices import settlement_notices
    from tallystick.pipeline.references import load_attribute

    on_outcome = _books(books, without_books=without_books)
    notices = settlement_notices(file.read_text().splitlines(), provider=provider, place=str(file))
    told: Counter[str] = Counter()
    on_suspense = None if suspense_books is None else load_attribute(suspense_books, example=_SUSPENSE_EXAMPLE)
    with _ledger(database, on_suspense=on_suspense) as ledger:
        for notice in notices:
            with ledger.engine.begin() as connection:
                told[ledger.tell(connection, notice, on_outcome).value] += 1
    typer.echo(", ".join(f"{count:,} {result}" for result, count in sorted(told.items())) or "no charges in the file")


@effects.command()
def export(
    database: Database,
    state: StateOption = None,
    form: Annotated[Literal["csv", "json"], typer.Option("--format", help="csv, or JSON with one object a line.")] = (
        "csv"
    ),
    output: Annotated[Path | None, typer.Option(help="A file. Without it: the screen.")] = None,
) -> None:
    """Write the register of unknown outcomes, or of --state, as CSV or JSON. Bytes and keys are not in it."""
    with _ledger(database) as ledger:
        rows = [_exported(each) for each in _chosen(ledger, state)]
    if form == "csv":
        sink = io.StringIO()
        writer = csv.DictWriter(sink, _EXPORTED, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = sink.getvalue()
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text)
        typer.echo(f"{len(rows):,} attempts in {output}")


@contextmanager
def _ledger(database: str, *, on_suspense: OnSuspense | None = None) -> Iterator[EffectLedger]:
    from tallystick.boundary import EffectLedger

    with opened_engine(database) as engine:
        yield EffectLedger(engine, on_suspense=on_suspense)


def _chosen(ledger: EffectLedger, states: list[str] | None) -> tuple[Attempt, ...]:
    from tallystick.boundary.effects import State

    if not states:
        return ledger.list_unknown()
    known = {state.value: state for state in State}
    unknown = [name for name in states if name.upper() not in known]
    if unknown:
        raise ConfigurationError(f"there is no state {unknown[0]!r}", remedy=f"States are {', '.join(known)}")
    return ledger.attempts(states=[known[name.upper()] for name in states])


def _one(ledger: EffectLedger, attempt_id: str) -> Attempt:
    found = ledger.attempt(attempt_id)
    if found is None:
        raise ConfigurationError(f"there is no attempt {attempt_id!r}", remedy="'tallystick effects list' has them")
    return found


def _exported(attempt: Attempt) -> dict[str, Any]:
    row = {name: getattr(attempt, name) for name in _EXPORTED}
    return {**row, "state": attempt.state.value}


def _next(attempt: Attempt, now_ms: int) -> str:
    if attempt.action_deadline_ms is not None:
        return f"waits for the customer, {_in(attempt.action_deadline_ms - now_ms)}"
    if attempt.resend_until_ms is None:
        return "will be sent"
    if attempt.resend_until_ms > now_ms:
        return f"same bytes again, {_in(attempt.resend_until_ms - now_ms)}"
    return "is looked up"


def _in(milliseconds: int) -> str:
    return f"for {duration(milliseconds)} more" if milliseconds > 0 else "its time is over"


def _told(name: str, value: Any) -> str:
    if name.endswith("_at_ms") or name in ("resend_until_ms", "action_deadline_ms"):
        import datetime

        return (
            "-"
            if value is None
            else datetime.datetime.fromtimestamp(value / 1000, tz=datetime.UTC).isoformat(timespec="milliseconds")
        )
    return "-" if value is None else str(value)


def _books(reference: str | None, *, without_books: bool) -> OnOutcome:
    from tallystick.pipeline.references import load_attribute

    if (reference is None) == (not without_books):
        raise ConfigurationError("say who books the outcome: --books module:function, or --without-books", rule=34)
    if reference is None:
        return lambda _connection, _attempt, _outcome: None
    function: OnOutcome = load_attribute(reference, example="tallystick.billing.charges:on_outcome")
    return function
