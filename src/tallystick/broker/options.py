"""What one broker is told, wherever it runs: as a process, in a thread, in the caller's loop.

Owns: the values. Must not know: where they come from (command line, file, a caller's arguments).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.groups.settings import DEFAULTS as GROUP_DEFAULTS
from tallystick.broker.groups.settings import GroupSettings
from tallystick.broker.log.settings import DEFAULTS as LOG_DEFAULTS
from tallystick.broker.log.settings import LogSettings
from tallystick.broker.node_settings import DEFAULTS as NODE_DEFAULTS
from tallystick.broker.node_settings import NodeSettings
from tallystick.broker.security.settings import SecuritySettings
from tallystick.broker.transactions.settings import DEFAULTS as TRANSACTION_DEFAULTS
from tallystick.broker.transactions.settings import TransactionSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOptions:
    """Everything that one broker is told. ``port`` 0 is any free one. Listeners in ``security`` are opened instead.

    ``static_configs`` are the broker configurations that were given, by Kafka's names: DescribeConfigs tells them, and
    they give topics their defaults. What else they mean stands in the other fields already.
    ``metrics_address`` None: no metrics are counted.
    """

    host: str
    port: int
    data: Path
    fsync: FsyncPolicy = FsyncPolicy.NEVER
    node: NodeSettings = NODE_DEFAULTS
    log: LogSettings = LOG_DEFAULTS
    groups: GroupSettings = GROUP_DEFAULTS
    transactions: TransactionSettings = TRANSACTION_DEFAULTS
    security: SecuritySettings = field(default_factory=SecuritySettings)
    static_configs: Mapping[str, str] = field(default_factory=dict, repr=False)
    metrics_address: tuple[str, int] | None = None
