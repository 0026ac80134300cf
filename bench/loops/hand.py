"""The loop as an engineer writes it with confluent-kafka, tuned and plain.

Neither one keeps the rules: they are the speed that the rules are measured against.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from bench.contenders.place import STEADY_FETCHES
from bench.loops.job import Event, Job, rated
from bench.speed.site import TIMEOUT_S, client
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from tallystick.pipeline import calm_collector

_ID = b"0b1f7a4e-7d3c-8c2a-9f10-2f4f5d1f9a77"

Write = Callable[[Producer, str, Sequence[Message]], None]


def tuned(job: Job) -> None:
    """msgspec structs, and ``produce_batch``."""
    decode, encode = msgspec.json.Decoder(Event).decode, msgspec.json.Encoder().encode

    def write(producer: Producer, target: str, messages: Sequence[Message]) -> None:
        batch = [{"value": encode(rated(decode(one.value()))), "key": one.key()} for one in messages]
        producer.produce_batch(target, batch)

    loop(job, write)


def tuned_and_calm(job: Job) -> None:
    """``tuned`` with the collector as a worker has it."""
    with calm_collector(job.batch_records):
        tuned(job)


def tuned_with_header(job: Job) -> None:
    """The same with one header for each record, which ``produce_batch`` cannot write."""
    decode, encode = msgspec.json.Decoder(Event).decode, msgspec.json.Encoder().encode

    def write(producer: Producer, target: str, messages: Sequence[Message]) -> None:
        for one in messages:
            producer.produce(target, encode(rated(decode(one.value()))), one.key(), headers=[("id", _ID)])

    loop(job, write)


def plain(job: Job) -> None:
    """The standard library's JSON, and ``produce``."""

    def write(producer: Producer, target: str, messages: Sequence[Message]) -> None:
        for message in messages:
            event = json.loads(message.value())
            event["fee_minor"] = event["amount_minor"] // 100
            producer.produce(target, json.dumps(event).encode(), message.key())

    loop(job, write)


def loop(job: Job, write: Write) -> None:
    """Consume, write, send offsets, commit."""
    settings: dict[str, Any] = client(job.bootstrap)
    consumer = Consumer(
        settings
        | {
            "group.id": job.name,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
        | STEADY_FETCHES
    )
    queue = {"queue.buffering.max.messages": 1_000_000}
    producer = Producer(settings | {"transactional.id": job.name} | queue | job.producer_settings)
    producer.init_transactions(TIMEOUT_S)
    consumer.subscribe([job.source])
    done = 0
    while not job.committed(done):
        messages = consumer.consume(job.batch_records, 0.1)
        if not messages:
            continue
        producer.begin_transaction()
        write(producer, job.target, messages)
        positions = {message.partition(): message.offset() + 1 for message in messages}
        producer.send_offsets_to_transaction(
            [TopicPartition(job.source, number, offset) for number, offset in positions.items()],
            consumer.consumer_group_metadata(),
            TIMEOUT_S,
        )
        producer.commit_transaction(TIMEOUT_S)
        done += len(messages)
    consumer.close()
