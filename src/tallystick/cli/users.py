"""``tallystick users``: who may log in to a broker, while it is not running.

A password comes from a file, from a pipe or from the terminal, never from the command line, which everyone on the
machine can read.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

users: Final = typer.Typer(name="users", help="Who may log in to a broker that is not running.", no_args_is_help=True)

_DATA: Final = typer.Option(help="The broker's data folder.")


def _password(file: Path | None) -> str:
    from tallystick.errors import ConfigurationError

    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{file} cannot be read: {error.__class__.__name__}") from error
    elif sys.stdin.isatty():
        text = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        text = sys.stdin.readline()
    return text.rstrip("\r\n")


@users.command()
def add(
    name: Annotated[str, typer.Argument(help="The user's name.")],
    data: Annotated[Path, _DATA],
    password_file: Annotated[Path | None, typer.Option(help="File with the password; else standard input.")] = None,
    iterations: Annotated[int, typer.Option(help="Of SCRAM; more makes guessing and logging in slower.")] = 4096,
) -> None:
    """Make a user, or change its password: for SCRAM-SHA-256, SCRAM-SHA-512 and PLAIN."""
    from tallystick.broker.security.offline import opened_store, set_password
    from tallystick.broker.security.scram import ScramMechanism

    password = _password(password_file)
    with opened_store(data) as store:
        set_password(store, name, password, mechanisms=list(ScramMechanism), iterations=iterations)
    typer.echo(f"user {name} can log in")


@users.command()
def remove(name: Annotated[str, typer.Argument(help="The user's name.")], data: Annotated[Path, _DATA]) -> None:
    """Take a user's credentials away."""
    from tallystick.broker.security.offline import opened_store, remove_user

    with opened_store(data) as store:
        known = remove_user(store, name)
    typer.echo(f"user {name} is gone" if known else f"there is no user {name}")
    raise typer.Exit(0 if known else 1)


@users.command("list")
def list_users(data: Annotated[Path, _DATA]) -> None:
    """List the users and their mechanisms."""
    from tallystick.broker.security.offline import opened_store

    with opened_store(data) as store:
        for name in sorted(store.credentials.scram_users()):
            held = store.credentials.of_user(name)
            typer.echo(f"{name}  {', '.join(mechanism.mechanism_name for mechanism in held)}")
