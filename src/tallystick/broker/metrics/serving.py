"""Metrics put together for one running broker.

Owns: which collectors there are, and what is healthy. Must not know: HTTP, the names of metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import ProcessCollector

from tallystick.broker.metrics.collector import NodeCollector
from tallystick.broker.metrics.log_counts import OF_THE_PROCESS
from tallystick.broker.metrics.meter import Meter
from tallystick.broker.metrics.page import MetricsPage

if TYPE_CHECKING:
    from tallystick.broker.node import Node


async def open_page(
    address: tuple[str, int], node: Node, meter: Meter, *, open_connections: Callable[[], int]
) -> tuple[MetricsPage, int]:
    """The page, listening, and its port. ``ConfigurationError`` for an address that others can reach."""
    node.durability.observe_sync = meter.syncs.observe
    collector = NodeCollector(node, meter, open_connections=open_connections, log_counts=OF_THE_PROCESS)

    def why_unhealthy() -> str | None:
        failure = node.durability.failure
        return None if failure is None else f"a sync failed: {failure}"

    page = MetricsPage([collector, ProcessCollector(registry=None)], why_unhealthy)
    return page, await page.open(*address)
