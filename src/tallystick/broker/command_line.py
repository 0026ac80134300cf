"""The command line of ``tallystick broker``, turned into what the broker is told.

Owns: the options' names, and that one of them comes before ``--set``, and that before the file. Must not know: typer,
the process.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.security.command_line import SecurityOptions
from tallystick.broker.security.listeners import parse_address
from tallystick.errors import ConfigurationError

if TYPE_CHECKING:  # a program without the extra "broker" can still show its help
    from tallystick.broker.broker_configs import Note
    from tallystick.broker.options import BrokerOptions

DATA_HELP = "Folder of everything the broker keeps (log.dirs)."
PROPERTIES_HELP = "File of broker configurations under Apache Kafka's names: its server.properties."
SET_HELP = "One such configuration, name=value; comes before the file. May be given again."
FSYNC_HELP = "never, interval or commit: what survives power loss."
NUM_PARTITIONS_HELP = "Of a topic that is made without a number (num.partitions)."
METRICS_LISTEN_HELP = "host:port on loopback for /metrics (Prometheus) and /healthz."
LOG_FORMAT_HELP = "json or text: the form of the log on standard error."
LIST_SETTINGS_HELP = "Show every broker configuration and what becomes of it here, and stop."


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """The options as they were given; None was not."""

    data: Path | None = None
    properties: Path | None = None
    sets: Sequence[str] = ()
    fsync: str | None = None
    num_partitions: int | None = None
    metrics_listen: str | None = None
    security: SecurityOptions = field(default_factory=SecurityOptions)

    def options(self) -> tuple[BrokerOptions, tuple[Note, ...]]:
        """What the broker is told, and which configurations have no effect. ``ConfigurationError`` names the place."""
        from tallystick.broker.broker_configs import collect, read
        from tallystick.broker.options import BrokerOptions

        configs = read(collect(self.properties, self.sets))
        data = self.data or configs.data
        if data is None:
            raise ConfigurationError("the broker needs a data folder", remedy="Give --data, or log.dirs.")
        security = self.security.settings(configs.security)
        host, port = self.security.address(security)
        node = configs.node
        if self.num_partitions is not None:
            node = replace(node, num_partitions=self.num_partitions)
        options = BrokerOptions(
            host=host,
            port=port,
            data=data,
            fsync=self._fsync() or configs.fsync or FsyncPolicy.NEVER,
            node=node,
            log=configs.log,
            groups=configs.groups,
            transactions=configs.transactions,
            security=security,
            static_configs=configs.values,
            metrics_address=self._metrics_address(),
        )
        return options, configs.notes

    def _metrics_address(self) -> tuple[str, int] | None:
        if self.metrics_listen is None:
            return None
        return parse_address(self.metrics_listen, setting="--metrics-listen")

    def _fsync(self) -> FsyncPolicy | None:
        if self.fsync is None:
            return None
        if self.fsync not in set(FsyncPolicy):
            raise ConfigurationError(f"--fsync {self.fsync!r} is none of {', '.join(FsyncPolicy)}")
        return FsyncPolicy(self.fsync)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options, for ``python -m tallystick.broker``."""
    parser.add_argument("--data", type=Path, metavar="DIR", help=DATA_HELP)
    parser.add_argument("--properties", type=Path, metavar="FILE", help=PROPERTIES_HELP)
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", dest="sets", help=SET_HELP)
    parser.add_argument("--fsync", choices=[str(policy) for policy in FsyncPolicy], help=FSYNC_HELP)
    parser.add_argument("--num-partitions", type=int, help=NUM_PARTITIONS_HELP)
    parser.add_argument("--metrics-listen", metavar="HOST:PORT", help=METRICS_LISTEN_HELP)


def read_options(given: argparse.Namespace, security: SecurityOptions) -> CommandLine:
    """What was given of them."""
    return CommandLine(
        data=given.data,
        properties=given.properties,
        sets=given.sets or (),
        fsync=given.fsync,
        num_partitions=given.num_partitions,
        metrics_listen=given.metrics_listen,
        security=security,
    )
