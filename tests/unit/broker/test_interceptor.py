"""The seam between server and handlers, over a raw socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.unit.broker.test_server import is_alive, metadata_request, serving, versions_request

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.interceptor import ConnectionCut, ConnectionSilent
from tallystick.broker.security.settings import ConnectionSettings
from tallystick.wire.errors import ErrorCode
from tallystick.wire.frames import read_response


class On:
    """Steps in front of Metadata; everything else passes."""

    def __init__(self, step_in: Callable[[Api, RequestContext, Any], Coroutine[Any, Any, Any]]) -> None:
        self._step_in = step_in

    async def handle(self, api: Api, context: RequestContext, request: Any) -> Any:
        if api.name == "metadata":
            return await self._step_in(api, context, request)
        return await api.handle(context, request)


def test_an_interceptor_may_do_a_request_twice_and_answers_once(tmp_path: Path) -> None:
    seen: list[str] = []

    async def twice(api: Api, context: RequestContext, request: Any) -> Any:
        seen.append(request.topics[0].name)
        await api.handle(context, request)
        return await api.handle(context, request)

    async def run() -> None:
        async with serving(tmp_path, interceptor=On(twice)) as (_, connect):
            client = await connect()
            client.send(metadata_request(7, "orders") + versions_request(8))
            first, second = await client.receive(), await client.receive()
            assert first is not None
            assert second is not None
            correlation_id, response = read_response(first, 3, 1)
            assert (correlation_id, response.topics[0].error_code) == (7, ErrorCode.none)
            assert read_response(second, 18, 3)[0] == 8

    asyncio.run(run())
    assert seen == ["orders"]


def test_a_cut_connection_ends_and_no_other(tmp_path: Path) -> None:
    async def cut(api: Api, context: RequestContext, request: Any) -> Any:
        raise ConnectionCut

    async def run() -> None:
        async with serving(tmp_path, interceptor=On(cut)) as (_, connect):
            client = await connect()
            client.send(metadata_request(1, "orders"))
            assert await client.receive() is None
            assert await is_alive(connect)

    asyncio.run(run())


def test_a_silent_connection_stays_open_unanswered_until_its_client_goes(tmp_path: Path) -> None:
    async def silence(api: Api, context: RequestContext, request: Any) -> Any:
        raise ConnectionSilent

    async def run() -> None:
        async with serving(tmp_path, interceptor=On(silence), bounds=ConnectionSettings(max_connections=1)) as (
            _,
            connect,
        ):
            client = await connect()
            client.send(metadata_request(1, "orders") + versions_request(2))
            try:
                await client.receive(timeout_s=0.3)
            except TimeoutError:
                pass
            else:
                raise AssertionError("the connection is not silent")
            await client.close()
            async with asyncio.timeout(10):  # its place is given back
                while not await is_alive(connect):
                    pass

    asyncio.run(run())
