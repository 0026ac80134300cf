"""``tallystick sandbox``: the payment provider to run against."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tallystick.errors import ConfigurationError


def sandbox(
    data: Annotated[Path, typer.Option(help="Folder of its durable store.")],
    listen: Annotated[str, typer.Option(help="host:port, loopback only; port 0 picks one.")] = "127.0.0.1:0",
    seed: Annotated[int, typer.Option(help="Fixes which requests meet a fault.")] = 0,
    faults: Annotated[str | None, typer.Option(help="JSON file, or name=rate,name=rate.")] = None,
    window_ms: Annotated[int, typer.Option(help="How long an idempotency key is kept.")] = 86_400_000,
    ready_file: Annotated[Path | None, typer.Option(help="Written when it listens.")] = None,
) -> None:
    """Run a payment provider in Stripe's and Adyen's shapes, with faults on request: docs/sandbox.md."""
    from tallystick.sandbox.main import serve

    try:
        serve(listen=listen, data=data, seed=seed, faults=faults, window_ms=window_ms, ready_file=ready_file)
    except ConfigurationError as error:
        typer.echo(f"sandbox: {error}", err=True)
        raise typer.Exit(2) from error
