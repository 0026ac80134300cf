"""``tallystick broker``: the embedded broker alone, for any Kafka client."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tallystick.broker.security import command_line as security


def broker(
    data: Annotated[Path, typer.Option(help="Folder of everything the broker keeps.")],
    listen: Annotated[list[str] | None, typer.Option(help=security.LISTEN_HELP)] = None,
    advertise: Annotated[list[str] | None, typer.Option(help=security.ADVERTISE_HELP)] = None,
    tls_cert: Annotated[Path | None, typer.Option(help=security.TLS_CERT_HELP)] = None,
    tls_key: Annotated[Path | None, typer.Option(help=security.TLS_KEY_HELP)] = None,
    tls_client_ca: Annotated[Path | None, typer.Option(help=security.TLS_CLIENT_CA_HELP)] = None,
    users: Annotated[Path | None, typer.Option(help=security.USERS_HELP)] = None,
    acls: Annotated[bool, typer.Option(help=security.ACLS_HELP)] = False,
    super_user: Annotated[list[str] | None, typer.Option(help=security.SUPER_USER_HELP)] = None,
    fsync: Annotated[str, typer.Option(help="never, interval or commit: what survives power loss.")] = "never",
    num_partitions: Annotated[int, typer.Option(help="Of a topic that is made without a number.")] = 4,
    ready_file: Annotated[Path | None, typer.Option(help="Written when it listens.")] = None,
) -> None:
    """Run a durable Kafka broker in one process: real protocol, transactions, no JVM."""
    from tallystick.broker.fsync_policy import FsyncPolicy
    from tallystick.broker.main import ProcessOptions, run
    from tallystick.broker.options import BrokerOptions
    from tallystick.errors import ConfigurationError

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
    host, port = given.address()
    if fsync not in set(FsyncPolicy):
        raise ConfigurationError(f"--fsync {fsync!r} is none of {', '.join(FsyncPolicy)}")
    code = run(
        BrokerOptions(
            host=host,
            port=port,
            data=data,
            fsync=FsyncPolicy(fsync),
            num_partitions=num_partitions,
            security=given.settings(),
        ),
        ProcessOptions(ready_file=ready_file),
    )
    raise typer.Exit(code)
