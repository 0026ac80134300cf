"""The node: everything that a handler may reach, put together in one place.

Owns: the assembly. Must not know: sockets, the protocol's encoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tallystick.broker.groups import GroupCoordinator
    from tallystick.broker.ports import Journal, PartitionWriter
    from tallystick.broker.transactions import TransactionCoordinator
    from tallystick.clock import Clock


@dataclass(slots=True)
class Node:
    """The one broker of its cluster. ``host`` and ``port`` are what clients are told to connect to."""

    partitions: PartitionWriter
    transactions: TransactionCoordinator
    groups: GroupCoordinator
    journal: Journal
    clock: Clock
    host: str
    port: int
    node_id: int
    cluster_id: str
