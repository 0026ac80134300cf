"""An ASGI application that takes webhooks in; a route of Starlette or FastAPI, or any ASGI server.

Owns: what is answered when. Must not know: what the webhook says. It needs no web framework.

2xx means stored: the provider then forgets its delivery. 400 is for who cannot sign. Everything else that fails is
503, so that the provider delivers again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import structlog
from sqlalchemy.exc import DBAPIError

from tallystick.boundary.webhooks.formats import WebhookFormat
from tallystick.boundary.webhooks.signatures import BadSignature
from tallystick.boundary.webhooks.store import WebhookStore
from tallystick.clock import Clock, SystemClock
from tallystick.killpoints import declare, reach

AFTER_WEBHOOK_STORED: Final = declare("webhook.after-stored", "a webhook is stored, its sender has no answer yet")

MAX_BODY_BYTES: Final = 1024 * 1024
_log = structlog.get_logger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class WebhookEndpoint:
    """Takes POSTs of one provider: checks, stores, answers. Processing is another matter (``WebhookProcessor``)."""

    def __init__(self, store: WebhookStore, reader: WebhookFormat, *, clock: Clock | None = None) -> None:
        self._store = store
        self._format = reader
        self._clock = clock or SystemClock()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] != "POST":
            await _answer(send, 405, b"POST only")
            return
        body = await _body(receive)
        if body is None:
            await _answer(send, 413, b"too large")
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        status, text = await asyncio.to_thread(self.accept, body, headers)
        await _answer(send, status, text)

    def accept(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Check and store one request; returns status and body of the answer. For servers that are not ASGI."""
        try:
            events = self._format.verify(body, headers, now_ms=self._clock.now_ms())
        except (BadSignature, ValueError, KeyError) as error:
            _log.warning("webhook.refused", provider=self._format.provider, reason=str(error))
            return 400, b"not accepted"
        try:
            self._store.keep(events)
        except DBAPIError as error:
            _log.warning("webhook.not-stored", provider=self._format.provider, reason=str(error.orig))
            return 503, b"try again"
        reach(AFTER_WEBHOOK_STORED)
        return 200, self._format.accepted


async def _body(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


async def _answer(send: Send, status: int, text: bytes) -> None:
    kind = b"application/json" if text[:1] == b"{" else b"text/plain"
    headers = [(b"content-type", kind), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
