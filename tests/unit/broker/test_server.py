"""The server over a raw socket: order of answers, unsupported versions, malformed requests, limits."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from kio.index import load_request_schema
from kio.schema.index import api_key_map
from tests.support.messages import random_message
from tests.unit.broker.in_process import opened

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.security.settings import ConnectionSettings, SecuritySettings
from tallystick.broker.server import Server
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode
from tallystick.wire.frames import read_response, write_request
from tallystick.wire.refusals import refusal


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, raw: bytes) -> None:
        self._writer.write(raw)

    async def receive(self, *, timeout_s: float = 20) -> bytes | None:
        """One frame without its length; None when the server closed the connection."""
        try:
            prefix = await asyncio.wait_for(self._reader.readexactly(4), timeout_s)
            return await self._reader.readexactly(int.from_bytes(prefix, "big"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def stop_reading(self) -> None:
        transport = self._writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()

    async def close(self) -> None:
        self._writer.close()


Connect = Callable[[], Coroutine[Any, Any, Client]]


@asynccontextmanager
async def serving(
    data: Path, *, fsync: FsyncPolicy = FsyncPolicy.NEVER, security: SecuritySettings | None = None, **settings: Any
) -> AsyncIterator[tuple[Server, Connect]]:
    with opened(data, fsync=fsync, port=0, security=security) as node:
        server = Server(node, **settings)
        await server.listen()
        port = node.port
        work = asyncio.create_task(server.run())
        clients: list[Client] = []

        async def connect() -> Client:
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            clients.append(client)
            return client

        try:
            yield server, connect
        finally:
            for client in clients:
                await client.close()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await server.close()


def versions_request(correlation_id: int, version: int = 3) -> bytes:
    fields = {"client_software_name": "t", "client_software_version": "1"}
    return write_request(correlation_id, "t", schema.request("api_versions", version).ApiVersionsRequest(**fields))


def metadata_request(correlation_id: int, topic: str) -> bytes:
    build = schema.request("metadata", 1)
    return write_request(correlation_id, "t", build.MetadataRequest(topics=(build.MetadataRequestTopic(name=topic),)))


async def is_alive(connect: Connect) -> bool:
    client = await connect()
    client.send(versions_request(1))
    frame = await client.receive()
    return frame is not None and read_response(frame, 18, 3)[1].error_code == ErrorCode.none


def test_pipelined_requests_are_answered_in_their_order(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (_, connect):
            client = await connect()
            client.send(b"".join(versions_request(n) for n in range(50)))
            for expected in range(50):
                frame = await client.receive()
                assert frame is not None
                assert read_response(frame, 18, 3)[0] == expected

    asyncio.run(run())


def end_offset_request(correlation_id: int, topic: str) -> bytes:
    """A request that only reads, so that its answer need not wait for the disk."""
    build = schema.request("list_offsets", 1)
    wanted = (build.ListOffsetsPartition(partition_index=0, timestamp=-1),)
    topics = (build.ListOffsetsTopic(name=topic, partitions=wanted),)
    return write_request(correlation_id, "t", build.ListOffsetsRequest(replica_id=-1, topics=topics))


def test_under_commit_an_answer_waits_for_the_disk_and_later_answers_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_is_ready = threading.Event()
    real = os.fdatasync

    def slow(fd: int) -> None:
        assert disk_is_ready.wait(20)
        real(fd)

    async def run() -> None:
        async with serving(tmp_path, fsync=FsyncPolicy.COMMIT) as (_, connect):
            monkeypatch.setattr(os, "fdatasync", slow)
            client = await connect()
            client.send(metadata_request(1, "made") + end_offset_request(2, "made"))
            with pytest.raises(TimeoutError):
                await client.receive(timeout_s=0.3)
            assert await is_alive_reading(connect)
            disk_is_ready.set()
            made, read = await client.receive(), await client.receive()
            assert made is not None
            assert read is not None
            correlation_id, response = read_response(made, 3, 1)
            assert (correlation_id, response.topics[0].error_code) == (1, ErrorCode.none)
            correlation_id, response = read_response(read, 2, 1)
            assert (correlation_id, response.topics[0].partitions[0].offset) == (2, 0)

    try:
        asyncio.run(run())
    finally:
        disk_is_ready.set()


async def is_alive_reading(connect: Connect) -> bool:
    """Whether a reader is answered while a writer waits for the disk."""
    client = await connect()
    client.send(end_offset_request(1, "made"))
    return await client.receive() is not None


def test_a_newer_api_versions_is_answered_in_version_0(tmp_path: Path) -> None:
    """KIP-511, and the connection goes on."""

    async def run() -> None:
        async with serving(tmp_path) as (_, connect):
            client = await connect()
            client.send(
                write_request(5, "t", schema.request("api_versions", 0).ApiVersionsRequest()).replace(
                    b"\x00\x12\x00\x00", b"\x00\x12\x00\x63", 1
                )
            )
            frame = await client.receive()
            assert frame is not None
            correlation_id, response = read_response(frame, 18, 0)
            assert (correlation_id, response.error_code) == (5, ErrorCode.unsupported_version)
            assert [(row.api_key, row.min_version, row.max_version) for row in response.api_keys] == [(18, 0, 4)]
            client.send(versions_request(6))
            assert await client.receive() is not None

    asyncio.run(run())


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x03abc",
        b"\x00\x00\x00\x0a\x00\x03\x00\x0c\x00\x00\x00\x01\xff\xff",
        b"\x00\x00\x00\x0a\x00\x03\x00\x01\x00\x00\x00\x01\x7f\xff",
        b"\x00\x00\x00\x0a\x27\x0f\x00\x01\x00\x00\x00\x01\xff\xff",
        b"\x00\x00\x00\x0a\x00\x00\x00\x02\x00\x00\x00\x01\xff\xff",
    ],
    ids=["http", "too long", "negative", "too short", "no body", "client id too long", "unknown api", "produce v2"],
)
def test_what_cannot_be_answered_costs_its_connection_and_no_other(tmp_path: Path, raw: bytes) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (_, connect):
            other = await connect()
            client = await connect()
            client.send(raw)
            assert await client.receive() is None
            other.send(versions_request(1))
            assert await other.receive() is not None
            assert await is_alive(connect)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "version"), [("unregister_broker", 0), ("share_group_describe", 1), ("offset_commit", 10)]
)
def test_an_api_that_is_not_handled_is_refused_in_its_own_version(tmp_path: Path, name: str, version: int) -> None:
    """If its schema is known: the client learns what is wrong, and the connection goes on."""
    (key,) = (key for key, known in api_key_map.items() if known == name)
    message = random_message(load_request_schema(key, version), Random(name))

    async def run() -> None:
        async with serving(tmp_path) as (_, connect):
            client = await connect()
            client.send(write_request(4, "t", message))
            frame = await client.receive()
            assert frame is not None
            assert read_response(frame, key, version) == (4, refusal(message, ErrorCode.unsupported_version))
            client.send(versions_request(5))
            assert await client.receive() is not None

    asyncio.run(run())


def test_connections_over_the_limit_are_closed_and_room_is_given_back(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, bounds=ConnectionSettings(max_connections=2)) as (_, connect):
            kept = [await connect(), await connect()]
            for number, client in enumerate(kept):
                client.send(versions_request(number))
                assert await client.receive() is not None
            refused = await connect()
            refused.send(versions_request(9))
            assert await refused.receive() is None
            await kept[0].close()
            async with asyncio.timeout(10):
                while not await is_alive(connect):
                    pass

    asyncio.run(run())


def test_a_frame_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, bounds=ConnectionSettings(socket_request_max_bytes=1_000)) as (_, connect):
            client = await connect()
            client.send((1_001).to_bytes(4, "big"))
            assert await client.receive() is None
            assert await is_alive(connect)

    asyncio.run(run())
