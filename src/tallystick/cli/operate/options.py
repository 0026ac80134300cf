"""The options that all commands on a running cluster have in common.

Owns: how a cluster is reached from the command line. Must not know: the commands.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tallystick.operate import ClientSettings, Cluster

Bootstrap = Annotated[
    str | None,
    typer.Option(
        envvar="TALLYSTICK_BOOTSTRAP",
        help="The cluster, host:port. Without it: bootstrap.servers of --command-config, else 127.0.0.1:9092.",
    ),
]
CommandConfig = Annotated[
    Path | None,
    typer.Option(
        envvar="TALLYSTICK_COMMAND_CONFIG",
        help="Client settings for TLS and SASL: security.protocol, sasl.mechanism, sasl.username, ssl.ca.location ...",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object for each row, for other programs.")]


@contextmanager
def opened(bootstrap: str | None, command_config: Path | None) -> Iterator[Cluster]:
    """The cluster that the options name."""
    from tallystick.operate import Cluster

    with Cluster(_client_settings(bootstrap, command_config)) as cluster:
        yield cluster


def librdkafka_settings(bootstrap: str | None, command_config: Path | None) -> dict[str, Any]:
    """The same cluster, for librdkafka."""
    settings = _client_settings(bootstrap, command_config)
    return {**settings.for_librdkafka(), "bootstrap.servers": settings.bootstrap}


def _client_settings(bootstrap: str | None, command_config: Path | None) -> ClientSettings:
    from tallystick.operate import ClientSettings
    from tallystick.operate.client_settings import read_properties

    properties = read_properties(command_config) if command_config else {}
    fallback = None if properties.get("bootstrap.servers") else "127.0.0.1:9092"
    return ClientSettings.from_properties(bootstrap or fallback, properties)
