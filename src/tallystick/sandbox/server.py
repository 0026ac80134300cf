"""The sandbox over HTTP: an ASGI application, connections that are closed without an answer, webhooks that go out.

Owns: what ASGI and uvicorn have to do with it. Must not know: keys, faults, charges, addresses (``api`` does).
"""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl

from tallystick.errors import FatalError
from tallystick.sandbox.answer import Answer
from tallystick.sandbox.api import MAX_BODY_BYTES, Asked, SandboxApi
from tallystick.sandbox.webhooks import Delivery

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_POLL_S: Final = 0.05
_WEBHOOK_TIMEOUT_S: Final = 10.0
_DELIVERIES_AT_ONCE: Final = 16


class SandboxApplication:
    """ASGI over ``SandboxApi``. Serve it with uvicorn's h11 protocol, which cut connections rely on."""

    def __init__(self, api: SandboxApi) -> None:
        self._api = api

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def client_left() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        body = await _body(receive)
        waiting = client_left()
        try:
            answer = await self._api.handle(_asked(scope, body), waiting)
        finally:
            waiting.close()
        if answer.hang_up:
            await _hang_up(receive)
        else:
            await _respond(send, answer)


async def deliver_webhooks(api: SandboxApi) -> None:
    """Send webhooks as they fall due, until cancelled."""
    room = asyncio.Semaphore(_DELIVERIES_AT_ONCE)
    running: set[asyncio.Task[None]] = set()
    while True:
        api.provider.expire()
        for delivery in api.webhooks.take_due(api.provider.now_ms()):
            task = asyncio.create_task(_deliver(api, delivery, room))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.sleep(_POLL_S)


async def _deliver(api: SandboxApi, delivery: Delivery, room: asyncio.Semaphore) -> None:
    async with room:
        if not await asyncio.to_thread(_posted, delivery, api.provider.now_ms()):
            api.webhooks.refused(delivery, now_ms=api.provider.now_ms())


def _posted(delivery: Delivery, now_ms: int) -> bool:
    """Whether the endpoint answered 2xx."""
    request = urllib.request.Request(  # noqa: S310  endpoints are http:// only
        delivery.endpoint.url, data=delivery.body, headers=delivery.headers(now_ms=now_ms), method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=_WEBHOOK_TIMEOUT_S) as answer:  # noqa: S310
            return 200 <= int(answer.status) < 300
    except urllib.error.HTTPError as refused:
        refused.close()
        return False
    except OSError:
        return False


def _asked(scope: Message, body: bytes) -> Asked:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    return Asked(scope["method"], scope["path"], query, headers, body)


async def _body(receive: Receive) -> bytes:
    """The body, cut where it is too large in any case."""
    body = b""
    while True:
        message = await receive()
        part: bytes = message.get("body", b"")
        body += part
        if not message.get("more_body", False) or len(body) > MAX_BODY_BYTES:
            return body


async def _respond(send: Send, answer: Answer) -> None:
    headers = [(name.encode(), value.encode()) for name, value in answer.headers]
    headers += [
        (b"content-type", answer.media_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _hang_up(receive: Receive) -> None:
    """Close the connection without an answer.

    ASGI has no word for it: an application that returns in silence gets a 500 written for it. So this asks uvicorn's
    cycle, whose bound method ``receive`` is, for its transport.
    """
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if not isinstance(transport, asyncio.Transport):
        raise FatalError("this server does not show its transport: the connection cannot be cut")
    transport.abort()
    await asyncio.sleep(0)  # lets the loop tell uvicorn, which would write a 500 otherwise
