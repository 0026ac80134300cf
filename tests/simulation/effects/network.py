"""The network between us and the sandbox, and the processes that it connects; both fail on request.

Owns: what is lost and late, the log of what was sent, the checks at the moment of sending (rules 29 and 30).
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
from sqlalchemy import Engine, select

from tallystick.boundary import schema
from tallystick.boundary.database import reading
from tallystick.clock import ManualClock
from tallystick.sandbox.api import Asked, SandboxApi


class SimulatedCrash(BaseException):
    """The process is gone. Nothing may catch it."""


class Violation(AssertionError):
    """A rule is broken."""


@dataclass
class Process:
    """One process of ours. After a crash it reaches neither SQL nor the network."""

    name: str
    crashed: bool = False

    def guard(self) -> None:
        if self.crashed:
            raise SimulatedCrash(self.name)


CURRENT: contextvars.ContextVar[Process] = contextvars.ContextVar("process")


@dataclass
class Troubles:
    """How likely each mishap is, for one request."""

    lost_request: float = 0.0
    lost_response: float = 0.0
    refused: float = 0.0
    delay_s: float = 0.0


@dataclass
class Network:
    """Requests of one schedule."""

    api: SandboxApi
    engine: Engine
    clock: ManualClock
    rng: random.Random
    troubles: Troubles
    posts: list[tuple[int, str, bytes]] = field(default_factory=list)
    """Time, key and body of every charge that left."""
    serving: set[asyncio.Task[httpx.Response]] = field(default_factory=set)
    travelling: int = 0
    """Requests that have left and have not arrived."""

    def transport(self, process: Process) -> Callable[[], httpx.AsyncBaseTransport]:
        return lambda: _Transport(self, process)

    async def exchange(self, process: Process, request: httpx.Request) -> httpx.Response:
        process.guard()
        key = request.headers.get("idempotency-key", "")
        if request.method == "POST" and not key.endswith("-cancel"):
            self._check(key, request.content)
        drawn = self.rng.random()
        troubles = self.troubles
        if drawn < troubles.refused:
            raise httpx.ConnectError("refused")
        if drawn < troubles.refused + troubles.lost_request:
            await asyncio.sleep(3_600)
        self.travelling += 1
        try:
            await asyncio.sleep(self.rng.random() * troubles.delay_s)
        finally:
            self.travelling -= 1
        if request.method == "POST" and not key.endswith("-cancel"):
            self.posts.append((self.clock.now_ms(), key, request.content))
        response = await self._served(request)
        if self.rng.random() < troubles.lost_response:
            await asyncio.sleep(3_600)
        await asyncio.sleep(self.rng.random() * troubles.delay_s)
        process.guard()
        return response

    async def _served(self, request: httpx.Request) -> httpx.Response:
        """The server goes on when its client has left, and hears of it."""
        left = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._serve(request, left), context=contextvars.Context())
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)
        try:
            return await asyncio.shield(task)
        finally:
            left.set()

    async def _serve(self, request: httpx.Request, left: asyncio.Event) -> httpx.Response:
        asked = Asked(
            request.method,
            request.url.path,
            dict(request.url.params),
            {name.lower(): value for name, value in request.headers.items()},
            request.content,
        )
        waiting = _until(left)
        try:
            answer = await self.api.handle(asked, waiting)
        finally:
            waiting.close()
        if answer.hang_up:
            return httpx.Response(599)  # nobody waits for it any more
        return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.body)

    def _check(self, key: str, body: bytes) -> None:
        """At the moment the first byte leaves: its row is committed, and no SQL transaction is open."""
        checked_out = self.engine.pool.checkedout()  # type: ignore[attr-defined]
        if checked_out:
            raise Violation(f"rule 30: {checked_out} SQL connections are in use while HTTP is under way")
        attempt = schema.effect_attempt.c
        query = select(attempt.times_sent, attempt.first_sent_at_ms, attempt.request).where(attempt.provider_key == key)
        with reading(self.engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None or row.first_sent_at_ms is None or not row.times_sent or row.request != body:
            raise Violation(f"rule 29: bytes under key {key} leave, and their row is {row}")


class _Transport(httpx.AsyncBaseTransport):
    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._network.exchange(self._process, request)
        if response.status_code == 599:
            raise httpx.RemoteProtocolError("the server closed the connection")
        return response


async def _until(event: asyncio.Event) -> None:
    await event.wait()
