"""``tallystick broker``: the embedded broker alone, for any Kafka client."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tallystick.broker import command_line
from tallystick.broker.security import command_line as security


def broker(
    context: typer.Context,
    data: Annotated[Path | None, typer.Option(help=command_line.DATA_HELP)] = None,
    properties: Annotated[Path | None, typer.Option(help=command_line.PROPERTIES_HELP)] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help=command_line.SET_HELP)] = None,
    listen: Annotated[list[str] | None, typer.Option(help=security.LISTEN_HELP)] = None,
    advertise: Annotated[list[str] | None, typer.Option(help=security.ADVERTISE_HELP)] = None,
    tls_cert: Annotated[Path | None, typer.Option(help=security.TLS_CERT_HELP)] = None,
    tls_key: Annotated[Path | None, typer.Option(help=security.TLS_KEY_HELP)] = None,
    tls_client_ca: Annotated[Path | None, typer.Option(help=security.TLS_CLIENT_CA_HELP)] = None,
    users: Annotated[Path | None, typer.Option(help=security.USERS_HELP)] = None,
    acls: Annotated[bool, typer.Option(help=security.ACLS_HELP)] = False,
    super_user: Annotated[list[str] | None, typer.Option(help=security.SUPER_USER_HELP)] = None,
    fsync: Annotated[str | None, typer.Option(help=command_line.FSYNC_HELP)] = None,
    num_partitions: Annotated[int | None, typer.Option(help=command_line.NUM_PARTITIONS_HELP)] = None,
    metrics_listen: Annotated[str | None, typer.Option(help=command_line.METRICS_LISTEN_HELP)] = None,
    log_format: Annotated[str, typer.Option(help=command_line.LOG_FORMAT_HELP)] = "json",
    ready_file: Annotated[Path | None, typer.Option(help="Written when it listens.")] = None,
    list_settings: Annotated[bool, typer.Option("--list-settings", help=command_line.LIST_SETTINGS_HELP)] = False,
) -> None:
    """Run a durable Kafka broker in one process: real protocol, transactions, no JVM."""
    if context.invoked_subcommand is not None:
        return
    from tallystick.broker.broker_configs.listing import listed
    from tallystick.broker.main import LogFormat, ProcessOptions, run
    from tallystick.errors import ConfigurationError

    if list_settings:
        typer.echo("\n".join(listed()))
        raise typer.Exit
    if log_format not in set(LogFormat):
        raise ConfigurationError(f"--log-format {log_format!r} is none of {', '.join(LogFormat)}")
    given = security.SecurityOptions(
        listen=listen or (),
        advertise=advertise or (),
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        users=users,
        acls=acls,
        super_user=super_user or (),
    )
    options, notes = command_line.CommandLine(
        data=data,
        properties=properties,
        sets=set_ or (),
        fsync=fsync,
        num_partitions=num_partitions,
        metrics_listen=metrics_listen,
        security=given,
    ).options()
    process = ProcessOptions(ready_file=ready_file, log_format=LogFormat(log_format))
    raise typer.Exit(run(options, process, notes))
