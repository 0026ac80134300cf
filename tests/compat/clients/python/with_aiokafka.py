"""The verbs of tests/support/foreign.py with aiokafka."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError
from tests.compat.clients.python.lines import closed, hear, run, say

LOGIN: dict[str, Any] = {}
if "CLIENT_USER" in os.environ:
    LOGIN = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": os.environ["CLIENT_USER"],
        "sasl_plain_password": os.environ["CLIENT_PASSWORD"],
        "ssl_context": ssl.create_default_context(cafile=os.environ["CLIENT_CA"]),
    }


async def producer(bootstrap: str, identity: str | None = None) -> Any:
    made = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, transactional_id=identity, **LOGIN)
    await made.start()
    return made


class Teller(ConsumerRebalanceListener):  # type: ignore[misc] # the package has no types
    """Tells which partitions the member has."""

    async def on_partitions_revoked(self, revoked: object) -> None:
        pass

    async def on_partitions_assigned(self, assigned: Any) -> None:
        say("assigned", partitions=[place.partition for place in assigned])


async def member(bootstrap: str, topic: str, group: str) -> Any:
    made = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        session_timeout_ms=6000,
        heartbeat_interval_ms=300,
        **LOGIN,
    )
    made.subscribe([topic], listener=Teller())
    await made.start()
    return made


async def send(client: Any, topic: str, values: list[bytes]) -> None:
    sent = [await client.send(topic, value, partition=0) for value in values]
    await asyncio.gather(*sent)


async def produce(bootstrap: str, topic: str, count: str) -> None:
    made = await producer(bootstrap)
    await send(made, topic, [str(number).encode() for number in range(int(count))])
    await made.stop()


async def consume(bootstrap: str, topic: str, group: str) -> None:
    ended = closed()
    made = await member(bootstrap, topic, group)
    while not ended.is_set():
        for place, records in (await made.getmany(timeout_ms=100)).items():
            for got in records:
                await made.commit({place: got.offset + 1})
                say("record", partition=got.partition, value=got.value.decode())
    await made.stop()


async def transact(bootstrap: str, topic: str, identity: str, rounds: str) -> None:
    made = await producer(bootstrap, identity)
    for number in range(int(rounds)):
        await made.begin_transaction()
        await send(made, topic, [str(number).encode()])
        await (made.abort_transaction() if number % 2 else made.commit_transaction())
    await made.stop()


async def copy(bootstrap: str, source: str, group: str, target: str, identity: str, count: str) -> None:
    """Each transaction is aborted once, and then done again."""
    writer, reader = await producer(bootstrap, identity), await member(bootstrap, source, group)
    copied = 0
    while copied < int(count):
        polled = await reader.getmany(timeout_ms=200, max_records=5)
        values = [got.value for records in polled.values() for got in records]
        if not values:
            continue
        offsets: dict[TopicPartition, int] = {place: records[-1].offset + 1 for place, records in polled.items()}
        for end in (writer.abort_transaction, writer.commit_transaction):
            await writer.begin_transaction()
            await send(writer, target, values)
            await writer.send_offsets_to_transaction(offsets, group)
            await end()
        copied += len(values)
    await reader.stop()
    await writer.stop()


async def fenced(bootstrap: str, topic: str, identity: str) -> None:
    made = await producer(bootstrap, identity)
    await made.begin_transaction()
    await send(made, topic, [b"old"])
    say("open")
    await asyncio.to_thread(hear)
    try:
        await made.commit_transaction()
    except KafkaError as refused:
        say("fenced", error=type(refused).__name__)
    else:
        say("committed")
    await made.stop()


def in_loop(work: Callable[..., Coroutine[object, object, None]]) -> Callable[..., None]:
    return lambda *words: asyncio.run(work(*words))


if __name__ == "__main__":
    run({work.__name__: in_loop(work) for work in (produce, consume, transact, copy, fenced)})
