"""One HTTP request, one answer, once: what every adapter needs, and no more.

Owns: connections, the time limit. Must not know: what is asked. No redirect is followed, nothing is tried again, no
proxy is taken from the environment: each would be one more place that could send twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import httpx

from tallystick.boundary.provider import Outcome, OutcomeKind
from tallystick.errors import ConfigurationError

NewTransport = Callable[[], httpx.AsyncBaseTransport]
NETWORK_ERRORS: Final = (httpx.TransportError, TimeoutError)
"""What may have happened all the same: even a refused connection can hide an earlier send of the same key."""


class Exchange:
    """Requests to one provider, from one event loop.

    Each transport has one connection, the last used first: httpx's pool looks at every pair of its connections for
    every request, and 64 in one pool are many times slower than 64 pools of one. A transport that failed is closed.
    """

    def __init__(self, url: str, *, timeout_ms: int, connections: int, transport: NewTransport | None = None) -> None:
        """``transport`` makes a transport of one connection; a test gives its own network."""
        self.base: Final = httpx.URL(url)
        if self.base.scheme not in ("http", "https") or not self.base.host:
            raise ConfigurationError(f"{url!r} is no http address of a provider")
        self._timeout_s = timeout_ms / 1000
        self._extensions = {"timeout": httpx.Timeout(self._timeout_s).as_dict()}
        self._free = asyncio.Semaphore(connections)
        self._idle: list[httpx.AsyncBaseTransport] = []
        self._new_transport = transport or _plain_transports()

    def at(self, path: str) -> httpx.URL:
        """The address of a path below the base; the path is quoted already."""
        return self.base.copy_with(raw_path=self.base.raw_path.rstrip(b"/") + path.encode("ascii"))

    async def send(
        self, method: str, url: httpx.URL, *, headers: Mapping[str, str], content: bytes | None = None
    ) -> httpx.Response:
        """The whole answer, within the time limit. Raises ``NETWORK_ERRORS``."""
        request = httpx.Request(method, url, headers=headers, content=content, extensions=self._extensions)
        async with self._free:
            transport = self._idle.pop() if self._idle else self._new_transport()
            try:
                async with asyncio.timeout(self._timeout_s):
                    response = await transport.handle_async_request(request)
                    try:
                        await response.aread()
                    finally:
                        await response.aclose()
            except BaseException:
                # The connection of a request that was given up may keep its place in the pool for ever, and every
                # later request would wait for that place.
                await transport.aclose()
                raise
            self._idle.append(transport)
            return response

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().aclose()


def _plain_transports() -> NewTransport:
    tls = httpx.create_ssl_context(trust_env=False)
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    return lambda: httpx.AsyncHTTPTransport(verify=tls, limits=limits, trust_env=False)


def lost(error: Exception) -> Outcome:
    """What a network error says: nothing."""
    return Outcome(OutcomeKind.UNKNOWN, code=type(error).__name__)


def retry_after_ms(headers: Mapping[str, str]) -> int | None:
    """``Retry-After`` in seconds; its other form, a date, is not used by payment providers."""
    text = headers.get("Retry-After", "")
    return int(text) * 1000 if text.isascii() and text.isdecimal() and len(text) < 6 else None
