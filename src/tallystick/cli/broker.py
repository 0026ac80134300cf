"""``tallystick broker``: the embedded broker alone, for any Kafka client."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def broker(
    data: Annotated[Path, typer.Option(help="Folder of everything the broker keeps.")],
    listen: Annotated[str, typer.Option(help="host:port, loopback only; port 0 picks one.")] = "127.0.0.1:9092",
    fsync: Annotated[str, typer.Option(help="never, interval or commit: what survives power loss.")] = "never",
    num_partitions: Annotated[int, typer.Option(help="Of a topic that is made without a number.")] = 4,
    ready_file: Annotated[Path | None, typer.Option(help="Written when it listens.")] = None,
) -> None:
    """Run a durable Kafka broker in one process: real protocol, transactions, no JVM."""
    from tallystick.broker.fsync_policy import FsyncPolicy
    from tallystick.broker.main import ProcessOptions, parse_listen, run
    from tallystick.broker.options import BrokerOptions
    from tallystick.errors import ConfigurationError

    host, port = parse_listen(listen)
    if fsync not in set(FsyncPolicy):
        raise ConfigurationError(f"--fsync {fsync!r} is none of {', '.join(FsyncPolicy)}")
    code = run(
        BrokerOptions(
            host=host,
            port=port,
            data=data,
            fsync=FsyncPolicy(fsync),
            num_partitions=num_partitions,
        ),
        ProcessOptions(ready_file=ready_file),
    )
    raise typer.Exit(code)
