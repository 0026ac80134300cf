"""Webhooks beside the charging: a server on loopback takes them in, a thread brings them into the books.

Owns: the address, the server, where the secrets come from. Must not know: what an outcome means. A proxy in front of it
speaks TLS with the provider.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from sqlalchemy import Engine

from tallystick.billing.charges import PROVIDER, on_outcome
from tallystick.boundary.effect_ledger import EffectLedger
from tallystick.boundary.webhooks import StripeWebhook, WebhookEndpoint, WebhookProcessor, WebhookStore
from tallystick.boundary.webhooks.endpoint import Message, Receive, Send
from tallystick.errors import ConfigurationError
from tallystick.listening import loopback_address

PATH: Final = "/webhooks/stripe"
ENV_SECRETS: Final = "TALLYSTICK_WEBHOOK_SECRETS"
"""Secrets of the endpoint, with commas between them: two while one is changed for the other."""
_CONCURRENT: Final = 64
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Where webhooks are taken in, and what signs them."""

    address: tuple[str, int]
    secrets: tuple[str, ...] = field(repr=False)

    @classmethod
    def of(cls, listen: str, environment: Mapping[str, str] = os.environ) -> Self:
        """From ``--webhooks-listen`` and the environment."""
        address = loopback_address(listen, option="--webhooks-listen", why="webhooks come over TLS")
        secrets = tuple(filter(None, environment.get(ENV_SECRETS, "").split(",")))
        if not secrets:
            raise ConfigurationError(f"{ENV_SECRETS} is not set", remedy="Set it to the endpoint's signing secret")
        return cls(address, secrets)


class WebhooksIn:
    """Listens at once; ``serve`` and ``process`` each run in a thread of their own, until ``stop`` is set."""

    def __init__(self, engine: Engine, ledger: EffectLedger, settings: WebhookSettings) -> None:
        store = WebhookStore(engine)
        reader = StripeWebhook(secrets=settings.secrets, provider=PROVIDER)
        self._endpoint = WebhookEndpoint(store, reader)
        self._processor = WebhookProcessor(engine, ledger, [reader], on_outcome, store=store)
        self._listener = socket.create_server(settings.address)
        self.port: int = self._listener.getsockname()[1]

    def serve(self, stop: threading.Event) -> None:
        """Take webhooks in. An event is stored before its sender hears 200."""
        with self._listener:
            asyncio.run(self._serve(stop))

    def process(self, stop: threading.Event) -> None:
        """Bring what is stored into the ledger and the books, again until that works."""
        self._processor.run(stop)

    async def _serve(self, stop: threading.Event) -> None:
        import uvicorn

        server = uvicorn.Server(
            uvicorn.Config(
                self._application,
                interface="asgi3",
                http="h11",
                log_level="error",
                access_log=False,
                lifespan="off",
                limit_concurrency=_CONCURRENT,
                timeout_graceful_shutdown=1,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[self._listener]))
        while not stop.is_set() and not serving.done():  # noqa: ASYNC110  the event is the threads', which no loop can await
            await asyncio.sleep(_POLL_S)
        server.should_exit = True
        await serving

    async def _application(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != PATH:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"not here"})
            return
        await self._endpoint(scope, receive, send)
