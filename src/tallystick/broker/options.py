"""What one broker is told, wherever it runs: as a process, in a thread, in the caller's loop.

Owns: the values. Must not know: where they come from (command line, file, a caller's arguments).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.security.settings import SecuritySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOptions:
    """Everything that one broker is told. ``port`` 0 is any free one. Listeners in ``security`` are opened instead."""

    host: str
    port: int
    data: Path
    fsync: FsyncPolicy = FsyncPolicy.NEVER
    num_partitions: int = 4
    security: SecuritySettings = field(default_factory=SecuritySettings)
