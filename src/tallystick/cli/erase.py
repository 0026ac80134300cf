"""``tallystick erase``: make what is stored about a person unreadable, by destroying the key that seals it."""

from __future__ import annotations

import datetime
import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from tallystick.cli.inbox import opened_engine
from tallystick.cli.operate.options import AsJson
from tallystick.cli.operate.screen import show
from tallystick.clock import SystemClock
from tallystick.errors import ConfigurationError

if TYPE_CHECKING:
    from tallystick.boundary.erasure import Holdings


def erase(
    subject: Annotated[str, typer.Argument(help="The subject's name, as your program gives it: customer-17.")],
    database: Annotated[str, typer.Option(envvar="TALLYSTICK_DATABASE", help="sqlite:///path or postgresql://...")],
    execute: Annotated[bool, typer.Option("--execute", help="Do it. Without this, only show what it is.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why. Kept for ever; needed with --execute.")] = None,
    by: Annotated[str | None, typer.Option(help="Who does it. Without it: who is logged in here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is stored about a person under a key of its own; destroy the key with --execute.

    Rows, ids and counts stay, and nothing runs a second time because of it. Outputs in inboxes, bytes of attempts,
    webhooks and published records are unreadable from then on, for everybody. It cannot be undone. Refused while
    something of the subject is under way: an attempt that is not settled may need its bytes. Topics of Kafka, and
    backups of the database, are not reached.
    """
    from tallystick.boundary.erasure import erase as erase_subject
    from tallystick.boundary.erasure import holdings

    with opened_engine(database) as engine:
        if not execute:
            _tell(holdings(engine, subject), as_json=as_json)
            return
        if reason is None:
            raise ConfigurationError("erasing needs --reason", remedy="It is kept with the date and who did it")
        who = getpass.getuser() if by is None else by
        found = erase_subject(engine, subject, by=who, reason=reason, now_ms=SystemClock().now_ms())
    typer.echo(f"erased: {sum(found.rows.values()):,} rows, {len(found.key_ids)} key destroyed, by {who}: {reason}")


def _tell(found: Holdings, *, as_json: bool) -> None:
    show(("Table", "Rows"), list(found.rows.items()), as_json=as_json, empty="")
    if as_json:
        return
    for past in found.erasures:
        when = datetime.datetime.fromtimestamp(past.erased_at_ms / 1000, tz=datetime.UTC).isoformat(timespec="seconds")
        typer.echo(f"erased before, {when}, by {past.erased_by}: {past.sealed_rows:,} rows; {past.reason}")
    if not found.key_ids:
        typer.echo("there is no key of this subject: nothing to erase")
    elif found.is_under_way:
        typer.echo(
            f"not yet: {found.open_attempts:,} attempts are not settled, {found.waiting_webhooks:,} webhooks are not "
            f"processed, {found.unpublished:,} records are not published"
        )
    else:
        typer.echo("add --execute and --reason to destroy the key; it cannot be undone")
