"""The server: listeners, the connections they accept and how many of them, the ticking.

Owns: sockets that listen, the count of connections. Must not know: what a connection says.

All state belongs to the one loop; a handler runs to its next ``await`` undisturbed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from functools import partial
from typing import Final

import structlog

from tallystick.broker.byte_budget import ByteBudget
from tallystick.broker.connection import Connection, Premises
from tallystick.broker.door import Door
from tallystick.broker.frame_buffers import FrameBuffers
from tallystick.broker.interceptor import Interceptor
from tallystick.broker.limits import DRAIN_TIMEOUT_S, TICK_MS
from tallystick.broker.metrics.meter import Meter
from tallystick.broker.node import Node
from tallystick.broker.security.listeners import Listener
from tallystick.broker.security.settings import ConnectionSettings

logger = structlog.get_logger(__name__)

_BACKLOG: Final = 512
_SWEEP_EVERY_S: Final = 1.0


class Server:
    """Serves one node. ``run`` ends only by cancellation or by an error that leaves no promise standing."""

    def __init__(
        self,
        node: Node,
        *,
        bounds: ConnectionSettings | None = None,
        interceptor: Interceptor | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._node = node
        self._bounds = bounds
        at_start = bounds or node.configs.connections
        self._premises = Premises(
            node=node,
            apis={api.key: api for api in node.apis},
            bounds=at_start,
            budget=ByteBudget(at_start.queued_max_request_bytes),
            buffers=FrameBuffers(),
            interceptor=interceptor,
            meter=meter,
        )
        self._meter = meter
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._by_host: Counter[str] = Counter()
        self._connection_count = 0
        self._refused = 0
        self._doors: list[Door] = []
        self.ports: dict[str, int] = {}

    @property
    def connection_count(self) -> int:
        """Open now."""
        return len(self._connections)

    async def listen(self) -> None:
        """Open every listener of the node; ``ports`` has the port of each, by its name."""
        for listener in self._node.security.listeners:
            opened = await _listening_socket(listener)
            port: int = opened.getsockname()[1]
            self.ports[listener.name] = port
            advertised = (listener.advertised_host, listener.advertised_port or port)
            self._doors.append(Door(opened, partial(self._enter, listener, advertised), name=listener.name))
        self._node.port = next(iter(self.ports.values()))

    async def run(self) -> None:
        """Tick and sync for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick())
            tasks.create_task(self._node.durability.run())
            tasks.create_task(self._node.cleaner().run())

    async def drain(self) -> None:
        """Stop listening; begin no request any more, and let those at work be answered, for ``DRAIN_TIMEOUT_S``."""
        self._close_doors()
        finishing = [asyncio.create_task(connection.finish()) for connection in self._connections.values()]
        if finishing:
            _, late = await asyncio.wait(finishing, timeout=DRAIN_TIMEOUT_S)
            for task in late:
                task.cancel()

    def abort(self) -> None:
        """Cut every connection, with nothing more sent, and stop listening."""
        self._close_doors()
        for task, connection in self._connections.items():
            connection.abort()
            task.cancel()

    def _close_doors(self) -> None:
        while self._doors:
            self._doors.pop().close()

    async def close(self) -> None:
        """Stop listening and end every connection."""
        self._close_doors()
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        swept = loop.time()
        while True:
            await asyncio.sleep(TICK_MS / 1000)
            self._node.tick()
            if loop.time() - swept >= _SWEEP_EVERY_S:
                swept = loop.time()
                self._sweep(swept)

    def _sweep(self, now: float) -> None:
        pressed = self._premises.budget.is_wanted
        for connection in self._connections.values():
            connection.end_if_late(now, pressed=pressed)
        if self._refused:
            logger.warning("connections were refused: too many", refused=self._refused, open=len(self._connections))
            self._refused = 0

    def _enter(self, listener: Listener, advertised: tuple[str, int], accepted: socket.socket, host: str) -> None:
        bounds = self._bounds or self._node.configs.connections
        if len(self._connections) >= bounds.max_connections or self._by_host[host] >= bounds.per_ip(host):
            self._refused += 1
            if self._meter is not None:
                self._meter.connections_refused += 1
            accepted.close()
            return
        self._connection_count += 1
        if self._meter is not None:
            self._meter.connections_accepted += 1
        connection = Connection(
            self._premises, listener, connection_id=self._connection_count, client_host=host, advertised=advertised
        )
        tls = self._node.security.tls if listener.protocol.has_tls else None
        task = asyncio.create_task(connection.serve(accepted, tls))
        self._connections[task] = connection
        self._by_host[host] += 1
        task.add_done_callback(partial(self._ended, accepted, host))

    def _ended(self, accepted: socket.socket, host: str, task: asyncio.Task[None]) -> None:
        if not self._connections.pop(task).has_begun:
            accepted.close()  # the task was cancelled before its first step, or while the socket was taken over
        self._by_host[host] -= 1
        if not self._by_host[host]:
            del self._by_host[host]
        with contextlib.suppress(asyncio.CancelledError):
            error = task.exception()
            if error is not None:
                logger.error("a connection ended badly", exc_info=error)


async def _listening_socket(listener: Listener) -> socket.socket:
    found = await asyncio.get_running_loop().getaddrinfo(
        listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _, _, _, address = found[0]
    opened = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    opened.setblocking(False)
    return opened
