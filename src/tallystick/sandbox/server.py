"""The sandbox over HTTP: routes, and connections that are closed without an answer.

Owns: the Starlette application. Must not know: keys, faults, charges (``provider`` does).
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tallystick.errors import ConfigurationError, FatalError
from tallystick.sandbox.faults import plan_from
from tallystick.sandbox.provider import Answer, SandboxProvider
from tallystick.sandbox.store import Store

MAX_BODY_BYTES: Final = 64 * 1024


class _HangUp(Response):
    """Closes the connection without an answer.

    ASGI has no word for it: an application that returns in silence gets a 500 written for it. So this asks uvicorn's
    cycle, whose bound method ``receive`` is, for its transport.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI's signature
        transport = getattr(getattr(receive, "__self__", None), "transport", None)
        if not isinstance(transport, asyncio.Transport):
            raise FatalError("this server does not show its transport: the connection cannot be cut")
        transport.abort()
        await asyncio.sleep(0)  # lets the loop tell uvicorn, which would write a 500 otherwise


class _Routes:
    """The endpoints over one provider."""

    def __init__(self, provider: SandboxProvider, store: Store, *, seed: int) -> None:
        self._provider = provider
        self._store = store
        self._seed = seed

    async def create_charge(self, request: Request) -> Response:
        body = await request.body()
        if len(body) > MAX_BODY_BYTES:
            return _refused("The body is too large", status=413)

        async def client_left() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        waiting = client_left()
        key, content_type = request.headers.get("idempotency-key"), request.headers.get("content-type", "")
        try:
            return _respond(await self._provider.charge(key, body, content_type, waiting))
        finally:
            waiting.close()

    async def list_charges(self, request: Request) -> Response:
        return _respond(self._provider.listing(dict(request.query_params)))

    async def retrieve_charge(self, request: Request) -> Response:
        return _respond(self._provider.retrieve(request.path_params["id"]))

    async def truth(self, _request: Request) -> Response:
        return JSONResponse(self._provider.truth())

    async def write_settlement(self, _request: Request) -> Response:
        path = self._store.write_settlement()
        return JSONResponse({"path": str(path.resolve()), "rows": path.read_text().count("\n") - 1})

    async def read_settlement(self, _request: Request) -> Response:
        return Response(self._store.settlement_csv(), media_type="text/csv")

    async def set_faults(self, request: Request) -> Response:
        try:
            self._provider.plan = plan_from(json.loads(await request.body()), seed=self._seed)
        except (ValueError, ConfigurationError) as wrong:
            return _refused(str(wrong))
        return JSONResponse({"ok": True})

    async def move_clock(self, request: Request) -> Response:
        document: Any = json.loads(await request.body() or b"{}")
        advance_ms = document.get("advance_ms") if isinstance(document, dict) else None
        if not isinstance(advance_ms, int) or advance_ms < 0:
            return _refused("advance_ms is a whole number from 0")
        self._store.move_clock(advance_ms)
        return JSONResponse({"now_ms": self._provider.now_ms()})


def build_application(provider: SandboxProvider, store: Store, *, seed: int) -> Starlette:
    """The routes over one provider. Serve it with uvicorn's h11 protocol, which cut connections rely on."""
    routes = _Routes(provider, store, seed=seed)
    return Starlette(
        routes=[
            Route("/v1/charges", routes.create_charge, methods=["POST"]),
            Route("/v1/charges", routes.list_charges, methods=["GET"]),
            Route("/v1/charges/{id}", routes.retrieve_charge, methods=["GET"]),
            Route("/_sandbox/truth", routes.truth, methods=["GET"]),
            Route("/_sandbox/settlement", routes.write_settlement, methods=["POST"]),
            Route("/_sandbox/settlement", routes.read_settlement, methods=["GET"]),
            Route("/_sandbox/faults", routes.set_faults, methods=["POST"]),
            Route("/_sandbox/clock", routes.move_clock, methods=["POST"]),
        ]
    )


def _respond(answer: Answer) -> Response:
    if answer.hang_up:
        return _HangUp()
    return Response(answer.body, answer.status, dict(answer.headers), media_type="application/json")


def _refused(message: str, *, status: int = 400) -> Response:
    return JSONResponse({"error": {"type": "invalid_request_error", "message": message}}, status)
