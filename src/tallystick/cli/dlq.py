"""``tallystick dlq``: dead letters listed, shown, and sent back to where they came from."""

from __future__ import annotations

import datetime
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tallystick.cli.operate.options import AsJson, Bootstrap, CommandConfig
from tallystick.cli.operate.screen import show
from tallystick.errors import ConfigurationError

if TYPE_CHECKING:
    from tallystick.pipeline.dead_letters import DeadLetter
    from tallystick.pipeline.redrive import Fix

dlq: Final = typer.Typer(name="dlq", help="Dead letters: list them, look at one, send them back.", no_args_is_help=True)

DeadLetterTopic = Annotated[str, typer.Argument(help="The dead-letter topic, such as billing.dead-letter.")]
_CAUSE_CHARACTERS: Final = 60


@dlq.command("list")
def list_letters(
    topic: DeadLetterTopic,
    settled: Annotated[bool, typer.Option("--settled", help="Those that were sent back, instead.")] = False,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
    as_json: AsJson = False,
) -> None:
    """List the open dead letters of a topic, and their causes by number."""
    from tallystick.pipeline.redrive import read_letters

    letters = read_letters(_settings(bootstrap, command_config), topic)
    chosen = letters.settled if settled else letters.open
    rows = [
        (
            letter.place,
            letter.event_id,
            f"{letter.topic}-{letter.partition}@{letter.offset}",
            letter.step,
            letter.tries,
            letter.cause if as_json else _short(letter.cause),
        )
        for letter in chosen
    ]
    show(("Letter", "Event id", "From", "Step", "Tries", "Cause"), rows, as_json=as_json, empty="no dead letters")
    causes = Counter(letter.cause.partition(":")[0] for letter in chosen)
    summary = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
    typer.echo(
        f"{len(letters.open)} open, {len(letters.settled)} sent back" + (f": {summary}" if summary else ""), err=True
    )
    if letters.others:
        typer.echo(f"{letters.others} records of the topic are no dead letters of ours", err=True)


@dlq.command("show")
def show_letter(
    topic: DeadLetterTopic,
    letter: Annotated[str, typer.Argument(help="PARTITION@OFFSET or event id, as 'dlq list' shows them.")],
    value_to: Annotated[Path | None, typer.Option(help="Write the value to this file, to mend it.")] = None,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
) -> None:
    """Show one open letter: where it came from, why it failed, its headers and its value."""
    from tallystick.pipeline.redrive import read_letters

    for found in read_letters(_settings(bootstrap, command_config), topic).chosen([letter]):
        _print(found)
        if value_to is not None:
            value_to.write_bytes(found.record.value or b"")
            typer.echo(f"wrote the value to {value_to}", err=True)


@dlq.command()
def redrive(
    topic: DeadLetterTopic,
    letters: Annotated[list[str] | None, typer.Argument(help="PARTITION@OFFSET or event ids.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every open letter.")] = False,
    value: Annotated[Path | None, typer.Option(help="File with the mended value, for one letter.")] = None,
    fix: Annotated[str | None, typer.Option(help="module:function from a DeadLetter to the mended bytes.")] = None,
    execute: Annotated[bool, typer.Option("--execute", help="Do it. Without this, only show what would go.")] = False,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
) -> None:
    """Send letters back to their topic and partition, with their own event ids. Does it with --execute.

    The record goes back and the letter is settled in one transaction, so that each goes back once, whoever is killed
    in between. Its event id stays, so that a boundary which has seen the event does not act twice.
    """
    from tallystick.pipeline.redrive import as_it_came, read_letters
    from tallystick.pipeline.redrive import redrive as send_back

    if every == bool(letters):
        raise ConfigurationError("name the letters to send back, or --all")
    mend = _mender(value, fix) or as_it_came
    settings = _settings(bootstrap, command_config)
    known = read_letters(settings, topic)
    going = known.open if every else known.chosen(letters or ())
    if value is not None and len(going) != 1:
        raise ConfigurationError(f"--value mends one letter, and {len(going)} are named")
    for letter in going:
        changed = "changed" if mend(letter) != letter.record.value else "as it came"
        typer.echo(f"{letter.place}  {letter.event_id}  to {letter.topic}-{letter.partition}, {changed}")
    if not execute:
        typer.echo(f"nothing was written: add --execute to send {len(going)} back", err=True)
        return
    count = 0
    while sent := send_back(settings, topic, None if every else letters, fix=mend):
        count += len(sent)
        if not every:
            break
    typer.echo(f"sent {count} back", err=True)


def _settings(bootstrap: str | None, command_config: Path | None) -> dict[str, Any]:
    """For librdkafka: the file's lines as they are."""
    from tallystick.operate.client_settings import read_properties

    found: dict[str, Any] = read_properties(command_config) if command_config else {}
    return found | {"bootstrap.servers": bootstrap or found.get("bootstrap.servers", "127.0.0.1:9092")}


def _mender(value: Path | None, fix: str | None) -> Fix | None:
    if value is not None and fix is not None:
        raise ConfigurationError("choose one of --value and --fix")
    if value is not None:
        mended = value.read_bytes()
        return lambda _letter: mended
    if fix is None:
        return None
    sys.path.insert(0, str(Path.cwd()))
    from tallystick.pipeline.references import load_attribute

    function: Fix = load_attribute(fix, example="mending:repair")
    if not callable(function):
        raise ConfigurationError(f"--fix {fix!r} is no function")
    return function


def _print(letter: DeadLetter) -> None:
    when = datetime.datetime.fromtimestamp(max(letter.timestamp_ms, 0) / 1000, tz=datetime.UTC)
    typer.echo(f"letter    {letter.record.topic}-{letter.place}")
    typer.echo(f"event id  {letter.event_id}")
    typer.echo(f"from      {letter.topic}-{letter.partition}@{letter.offset}, of {when.isoformat()}")
    typer.echo(f"step      {letter.step}, {letter.tries} tries")
    typer.echo(f"key       {_text(letter.record.key)}")
    for name, content in letter.headers:
        typer.echo(f"header    {name}: {_text(content)}")
    typer.echo(f"value     {_text(letter.record.value)}")
    typer.echo(letter.stack.rstrip())


def _text(raw: bytes | None) -> str:
    if raw is None:
        return "none"
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return repr(raw)
    return text if text.isprintable() else repr(raw)


def _short(cause: str) -> str:
    line = " ".join(cause.split())
    return line if len(line) <= _CAUSE_CHARACTERS else f"{line[: _CAUSE_CHARACTERS - 1]}…"
