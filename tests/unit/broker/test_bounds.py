"""What one connection may cost: time and memory. Time is told to the server; nothing waits for it to pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import Authority
from tests.unit.broker.test_server import Client, Connect, is_alive, serving, versions_request

from tallystick.broker import connection as connection_module
from tallystick.broker.limits import LARGE_REQUEST_BYTES, MAX_REQUEST_BYTES, UNCOUNTED_BYTES
from tallystick.broker.security.settings import (
    ConnectionSettings,
    ListenerSettings,
    SecuritySettings,
    TlsSettings,
)
from tallystick.broker.server import Server
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode
from tallystick.wire.frames import read_response, write_request
from tallystick.wire.records import BatchSpec, encode_batch
from tallystick.wire.shapes import MAX_ROWS


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.005)


def sweep(server: Server, *, in_s: float) -> None:
    """Let the server look at its connections as if so much time had passed."""
    server._sweep(asyncio.get_running_loop().time() + in_s)


def waits_for(server: Server) -> list[str]:
    return [connection._reader.waits_for for connection in server._connections.values()]


async def lives(client: Client, correlation_id: int = 1) -> bool:
    client.send(versions_request(correlation_id))
    return await client.receive() is not None


def produce_request(value: bytes, *, partitions: int = 1, topic: str = "events") -> bytes:
    build = schema.request("produce", 11)
    batch = encode_batch([(None, value)], BatchSpec())
    rows = tuple(build.PartitionProduceData(index=index, records=batch) for index in range(partitions))
    data = (build.TopicProduceData(name=topic, partition_data=rows),)
    message = build.ProduceRequest(transactional_id=None, acks=-1, timeout=timedelta(0), topic_data=data)
    return write_request(7, "t", message)


def test_a_request_that_never_becomes_whole_costs_its_connection(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (server, connect):
            slow, other = await connect(), await connect()
            assert await lives(other)
            slow.send(versions_request(1)[:-3])
            await until(lambda: "whole request" in waits_for(server))
            sweep(server, in_s=29)
            assert len(server._connections) == 2
            sweep(server, in_s=31)
            assert await slow.receive() is None
            assert await lives(other)

    asyncio.run(run())


def test_an_idle_connection_ends_at_its_time(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, bounds=ConnectionSettings(connections_max_idle_ms=5_000)) as (server, connect):
            client = await connect()
            assert await lives(client)
            sweep(server, in_s=4)
            assert await lives(client)
            sweep(server, in_s=6)
            assert await client.receive() is None

    asyncio.run(run())


def test_who_does_not_authenticate_in_time_is_gone_however_busy_it_was(tmp_path: Path) -> None:
    async def run() -> None:
        security = SecuritySettings(listeners=ListenerSettings(listeners=("SASL_PLAINTEXT://:0",)))
        async with serving(tmp_path, security=security) as (server, connect):
            client = await connect()
            sweep(server, in_s=10)
            assert await lives(client)
            sweep(server, in_s=16)
            assert await client.receive() is None

    asyncio.run(run())


def test_a_tls_handshake_that_never_comes_is_given_up_and_counts_until_then(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "AUTHENTICATION_TIMEOUT_S", 1.0)
    security = SecuritySettings(
        listeners=ListenerSettings(listeners=("SSL://:0",)),
        tls=TlsSettings(tls_cert=authority.server.chain, tls_key=authority.server.key),
    )

    async def run() -> None:
        async with serving(tmp_path, security=security) as (server, connect):
            silent = await connect()
            await until(lambda: len(server._connections) == 1)
            assert await silent.receive() is None
            await until(lambda: not server._connections)

    asyncio.run(run())


def test_one_address_may_have_so_many_connections_and_no_more(tmp_path: Path) -> None:
    async def run() -> None:
        bounds = ConnectionSettings(max_connections_per_ip=100, max_connections_per_ip_overrides=("127.0.0.1:2",))
        async with serving(tmp_path, bounds=bounds) as (server, connect):
            kept = [await connect(), await connect()]
            for client in kept:
                assert await lives(client)
            assert not await lives(await connect())
            await kept[0].close()
            await until(lambda: len(server._connections) == 1)
            assert await is_alive(connect)

    asyncio.run(run())


def test_only_produce_may_be_large_and_the_others_are_refused_by_their_first_bytes(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (_, connect):
            client = await connect()
            client.send((MAX_REQUEST_BYTES + 1).to_bytes(4, "big") + (3).to_bytes(2, "big"))
            assert await client.receive() is None
            client = await connect()
            client.send(produce_request(b"x" * (LARGE_REQUEST_BYTES // 2), partitions=3))
            frame = await client.receive()
            assert frame is not None
            assert read_response(frame, 0, 11)[0] == 7

    asyncio.run(run())


def test_a_request_of_very_many_rows_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (_, connect):
            build = schema.request("produce", 11)
            rows = (build.PartitionProduceData(index=1, records=None),) * (MAX_ROWS + 1)
            data = (build.TopicProduceData(name="events", partition_data=rows),)
            message = build.ProduceRequest(transactional_id=None, acks=-1, timeout=timedelta(0), topic_data=data)
            client = await connect()
            client.send(write_request(1, "t", message))
            assert await client.receive() is None
            assert await is_alive(connect)

    asyncio.run(run())


BUDGET = ConnectionSettings(queued_max_request_bytes=1_000_000)


def test_requests_over_the_budget_wait_for_the_others_and_are_answered(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, bounds=BUDGET) as (server, connect):
            budget = server._premises.budget
            first, second = await connect(), await connect()
            request = produce_request(b"x" * 700_000)
            first.send(request[:50_000])
            await until(lambda: budget.held_bytes > 600_000)
            second.send(request)
            await until(lambda: budget.is_wanted)
            assert await is_alive(connect), "what is small goes on"
            first.send(request[50_000:])
            for client in (first, second):
                assert await client.receive() is not None
            await until(lambda: budget.held_bytes == 0)

    asyncio.run(run())


def test_who_holds_room_that_others_wait_for_and_does_not_go_on_is_put_out(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, bounds=BUDGET) as (server, connect):
            slow, other = await connect(), await connect()
            request = produce_request(b"x" * 700_000)
            slow.send(request[:50_000])
            await until(lambda: server._premises.budget.held_bytes > 600_000)
            sweep(server, in_s=11)
            assert len(server._connections) == 2, "nobody waits yet"
            other.send(request)
            await until(lambda: server._premises.budget.is_wanted)
            sweep(server, in_s=11)
            assert await other.receive() is not None
            assert await slow.receive() is None
            await until(lambda: server._premises.budget.held_bytes == 0)

    asyncio.run(run())


async def fill(connect: Connect, batches: int) -> None:
    client = await connect()
    for _ in range(batches):
        client.send(produce_request(b"x" * 1_000_000))
        frame = await client.receive()
        assert frame is not None
        (topic,) = read_response(frame, 0, 11)[1].responses
        assert topic.partition_responses[0].error_code is ErrorCode.none


def fetch_request(correlation_id: int) -> bytes:
    build = schema.request("fetch", 11)
    part = build.FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=50_000_000)
    fields: dict[str, Any] = {"max_wait": timedelta(0), "min_bytes": 0, "max_bytes": 50_000_000}
    topics = (build.FetchTopic(topic="events", partitions=(part,)),)
    message = build.FetchRequest(**fields, isolation_level=0, topics=topics, forgotten_topics_data=(), rack_id="")
    return write_request(correlation_id, "t", message)


def test_who_does_not_take_its_answers_is_put_out_and_its_memory_given_back(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (server, connect):
            server._node.partitions.create("events", partition_count=1)
            await fill(connect, 12)
            greedy = await connect()
            greedy.stop_reading()
            greedy.send(b"".join(fetch_request(number) for number in range(100)))
            budget = server._premises.budget
            await until(lambda: budget.held_bytes > 10_000_000)
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert budget.held_bytes < 2 * 13_000_000, "one answer at a time, whatever was asked for"
            sweep(server, in_s=31)
            assert budget.held_bytes > 0, "an answer may take longer, the larger it is"
            sweep(server, in_s=31 + 13_000_000 / 65_536)
            await until(lambda: budget.held_bytes == 0)
            assert await is_alive(connect)

    asyncio.run(run())


def test_small_requests_and_answers_are_not_counted_at_all(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, bounds=ConnectionSettings(queued_max_request_bytes=1)) as (server, connect):
            client = await connect()
            for number in range(20):
                assert await lives(client, number)
            client.send(produce_request(b"x" * (UNCOUNTED_BYTES // 2)))
            assert await client.receive() is not None
            assert server._premises.budget.held_bytes == 0

    asyncio.run(run())
