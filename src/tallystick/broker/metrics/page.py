"""The HTTP listener of ``--metrics-listen``: ``/metrics`` for Prometheus and ``/healthz`` for whoever restarts brokers.

Owns: as much of HTTP/1.1 as that takes (RFC 9112): one GET for each connection. Must not know: what is measured. It is
on loopback only, because it asks nobody for a name.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from tallystick.errors import ConfigurationError
from tallystick.listening import is_loopback

logger = structlog.get_logger(__name__)

MAX_REQUEST_BYTES: Final = 8 * 1024
REQUEST_TIMEOUT_S: Final = 5
MAX_CONNECTIONS: Final = 16
_TEXT: Final = "text/plain; charset=utf-8"


class MetricsPage:
    """``open`` listens, ``close`` ends it. ``why_unhealthy`` is asked for each ``/healthz``; None: all is well."""

    def __init__(self, collectors: list[Collector], why_unhealthy: Callable[[], str | None]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        for collector in collectors:
            self._registry.register(collector)
        self._why_unhealthy = why_unhealthy
        self._server: asyncio.Server | None = None
        self._connections = 0

    async def open(self, host: str, port: int) -> int:
        """The port that is listened on. ``ConfigurationError`` for an address that others can reach."""
        if not is_loopback(host):
            raise ConfigurationError(
                f"--metrics-listen {host}:{port} can be reached by others, and asks nobody for a name",
                remedy="Listen on 127.0.0.1, and put a proxy that does in front of it.",
            )
        self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_REQUEST_BYTES)
        opened: int = self._server.sockets[0].getsockname()[1]
        return opened

    async def close(self) -> None:
        """Stop listening; what is being sent is cut."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(head))
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):  # TimeoutError is an OSError
            pass
        except asyncio.CancelledError:  # the task ends here, and asyncio.streams would log that it was cancelled
            pass
        except Exception:
            # The edge of this connection's loop: what cannot be shown is told, and the broker goes on.
            logger.exception("the page of metrics failed")
        finally:
            self._connections -= 1
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path not in (b"/metrics", b"/healthz"):
            return _response(HTTPStatus.NOT_FOUND, _TEXT, b"/metrics and /healthz are here\n")
        if method not in (b"GET", b"HEAD"):
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"GET only\n")
        if path == b"/metrics":
            made = _response(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry))
        else:
            reason = self._why_unhealthy()
            status = HTTPStatus.OK if reason is None else HTTPStatus.SERVICE_UNAVAILABLE
            made = _response(status, _TEXT, f"{'ok' if reason is None else reason}\n".encode())
        return made if method == b"GET" else made[: made.index(b"\r\n\r\n") + 4]


def _response(status: HTTPStatus, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
