"""One broker at work in the running loop: folder, node, server and their tasks, from open to closed.

Owns: the order of start and end. Must not know: processes, signals, threads; who asked for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from tallystick.broker.interceptor import Interceptor
from tallystick.broker.metrics.meter import Meter
from tallystick.broker.node import Node, Recovery, open_node
from tallystick.broker.options import BrokerOptions
from tallystick.broker.server import Server
from tallystick.clock import Clock, SystemClock

if TYPE_CHECKING:
    from tallystick.broker.metrics.page import MetricsPage

MakeInterceptor = Callable[[Node], Interceptor]


class BrokerInstance:
    """``await BrokerInstance.start(options)``, then it serves until ``stop``."""

    def __init__(self, node: Node, recovery: Recovery, server: Server) -> None:
        self.node = node
        self.recovery = recovery
        self.recovery_ms = 0
        self._server = server
        self._work: asyncio.Task[None] | None = None
        self._page: MetricsPage | None = None
        self.metrics_port: int | None = None

    @classmethod
    async def start(
        cls,
        options: BrokerOptions,
        *,
        clock: Clock | None = None,
        make_interceptor: MakeInterceptor | None = None,
    ) -> Self:
        """Recover what the folder holds and listen. ``OSError`` and ``TallystickError`` say why it cannot."""
        started = time.monotonic()
        node, recovery = open_node(
            options.data,
            fsync=options.fsync,
            clock=SystemClock() if clock is None else clock,
            host=options.host,
            port=options.port,
            settings=options.node,
            log_settings=options.log,
            transaction_settings=options.transactions,
            group_settings=options.groups,
            security_settings=options.security,
            static_configs=options.static_configs,
        )
        meter = None if options.metrics_address is None else Meter()
        interceptor = make_interceptor(node) if make_interceptor else None
        instance = cls(node, recovery, Server(node, interceptor=interceptor, meter=meter))
        try:
            await instance._server.listen()
            if options.metrics_address is not None and meter is not None:
                await instance._open_page(options.metrics_address, meter)
        except BaseException:
            await instance.stop()
            raise
        instance._work = asyncio.create_task(instance._server.run(), name="tallystick-broker")
        instance.recovery_ms = int((time.monotonic() - started) * 1000)
        return instance

    async def _open_page(self, address: tuple[str, int], meter: Meter) -> None:
        from tallystick.broker.metrics.serving import open_page  # prometheus_client takes a while

        self._page, self.metrics_port = await open_page(
            address, self.node, meter, open_connections=lambda: self._server.connection_count
        )

    @property
    def port(self) -> int:
        """Of the first listener."""
        return self.node.port

    @property
    def ports(self) -> dict[str, int]:
        """Of every listener, by its name."""
        return self._server.ports

    def recovery_as_json(self) -> dict[str, Any]:
        """What start-up found and how long it took, for the ready line."""
        return {**asdict(self.recovery), "took_ms": self.recovery_ms}

    async def failed(self) -> None:
        """Wait for what never ends by itself; raises what made it end: after it, nothing may be promised."""
        if self._work is not None:
            await asyncio.shield(self._work)

    async def serve_until(self, stop: asyncio.Event) -> None:
        """Serve until it is set; raises what ``failed`` raises."""
        failed, stopped = asyncio.create_task(self.failed()), asyncio.create_task(stop.wait())
        done, others = await asyncio.wait({failed, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for other in others:
            other.cancel()
        if failed in done:
            failed.result()

    async def stop(self) -> None:
        """Finish the requests at work, end every connection, bring everything to the disk, give the folder back."""
        try:
            if self._work is not None and not self._work.done():
                await self._server.drain()
            await self._end_work()
        finally:
            await self._close_page()
            await self._server.close()
            self.node.close()

    async def abandon(self) -> None:
        """End as by SIGKILL, as far as the folder and the clients can see: nothing is finished, written or synced."""
        self._server.abort()
        try:
            await self._end_work()
        finally:
            await self._close_page()
            await self._server.close()
            self.node.abandon()

    async def _close_page(self) -> None:
        if self._page is not None:
            await self._page.close()

    async def _end_work(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
