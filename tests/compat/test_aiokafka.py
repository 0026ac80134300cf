"""aiokafka through our broker, exchanging transactions with librdkafka: a client written from the protocol alone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import ProducerFenced
from tests.support.brokers import Cluster, Names
from tests.support.clients import committed, consumer, make_topic, producer, read_all, send, transactional

DEADLINE_S = 60.0


def run(work: Coroutine[object, object, None]) -> None:
    """Run with a deadline, so that a lost answer fails and does not hang."""
    asyncio.run(asyncio.wait_for(work, DEADLINE_S))


def test_aiokafka_commits_and_aborts_what_librdkafka_reads(embedded_cluster: Cluster, names: Names) -> None:
    bootstrap = embedded_cluster.bootstrap
    topic = make_topic(bootstrap, names("aio"))

    async def write() -> None:
        client = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=names("tx"))
        await client.start()
        try:
            for number in range(10):
                await client.begin_transaction()
                await client.send_and_wait(topic, f"{number}".encode(), partition=0)
                if number % 2:
                    await client.abort_transaction()
                else:
                    await client.commit_transaction()
        finally:
            await client.stop()

    run(write())
    assert read_all(bootstrap, topic) == [b"0", b"2", b"4", b"6", b"8"]


def test_aiokafka_reads_only_what_librdkafka_committed(embedded_cluster: Cluster, names: Names) -> None:
    bootstrap = embedded_cluster.bootstrap
    topic = make_topic(bootstrap, names("aio"))
    client = transactional(bootstrap, names("tx"))
    for value in (b"kept", b"dropped", b"kept too"):
        client.begin_transaction()
        send(client, topic, [value])
        if value == b"dropped":
            client.abort_transaction(DEADLINE_S)
        else:
            client.commit_transaction(DEADLINE_S)
    seen: list[bytes | None] = []

    async def read() -> None:
        reader = AIOKafkaConsumer(
            topic,
            bootstrap_servers=bootstrap,
            group_id=names("g"),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        await reader.start()
        try:
            while len(seen) < 2:
                seen.append((await reader.getone()).value)
        finally:
            await reader.stop()

    run(read())
    assert seen == [b"kept", b"kept too"]


def test_aiokafka_sends_offsets_in_its_transaction(embedded_cluster: Cluster, names: Names) -> None:
    bootstrap, group = embedded_cluster.bootstrap, names("g")
    source, target = make_topic(bootstrap, names("in")), make_topic(bootstrap, names("out"))
    send(producer(bootstrap), source, [b"1", b"2", b"3"])

    async def copy() -> None:
        client = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=names("tx"))
        await client.start()
        try:
            for offset, ends in ((1, False), (3, True)):
                await client.begin_transaction()
                await client.send_and_wait(target, f"up to {offset}".encode(), partition=0)
                await client.send_offsets_to_transaction({TopicPartition(source, 0): offset}, group)
                await (client.commit_transaction() if ends else client.abort_transaction())
        finally:
            await client.stop()

    run(copy())
    assert read_all(bootstrap, target) == [b"up to 3"]
    with consumer(bootstrap, group) as reader:
        assert committed(reader, source) == 3


def test_librdkafka_fences_aiokafka_with_the_same_id(embedded_cluster: Cluster, names: Names) -> None:
    bootstrap, identity = embedded_cluster.bootstrap, names("tx")
    topic = make_topic(bootstrap, names("aio"))

    async def be_fenced() -> None:
        client = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=identity)
        await client.start()
        try:
            await client.begin_transaction()
            await client.send_and_wait(topic, b"old", partition=0)
            await asyncio.to_thread(transactional, bootstrap, identity)
            with pytest.raises(ProducerFenced):
                await client.commit_transaction()
        finally:
            await client.stop()

    run(be_fenced())
    assert read_all(bootstrap, topic) == []
