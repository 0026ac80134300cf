"""The transactional consume-process-produce loop of aiokafka's documentation.

As there: ``getmany``, ``async with producer.transaction()``, and ``send_offsets_to_transaction(offsets, group_id)``,
which knows no member and no generation. Where speed is measured, its batches are large, and it parses with msgspec, as
the tuned loop does.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from bench.contenders.place import SESSION_TIMEOUT_MS, place


async def main() -> None:
    here = place()
    change = _rating() if here.work == "rate" else bytes
    large: dict[str, Any] = {"linger_ms": 5, "max_batch_size": 1_000_000} if here.is_large else {}
    consumer = AIOKafkaConsumer(
        here.source,
        bootstrap_servers=here.bootstrap,
        group_id=here.group,
        session_timeout_ms=SESSION_TIMEOUT_MS,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(bootstrap_servers=here.bootstrap, transactional_id=f"{here.group}-{here.slot}", **large)
    await consumer.start()
    await producer.start()
    try:
        while True:
            batch = await consumer.getmany(timeout_ms=200, max_records=here.batch_records)
            if not batch:
                continue
            async with producer.transaction():
                offsets = {}
                for partition, messages in batch.items():
                    for message in messages:
                        await producer.send(here.sink, value=change(message.value), key=message.key)
                    offsets[partition] = messages[-1].offset + 1
                await producer.send_offsets_to_transaction(offsets, here.group)
    finally:
        await consumer.stop()
        await producer.stop()


def _rating() -> Any:
    import msgspec
    from bench.loops.job import Event, rated

    decode, encode = msgspec.json.Decoder(Event).decode, msgspec.json.Encoder().encode
    return lambda value: encode(rated(decode(value)))


if __name__ == "__main__":
    asyncio.run(main())
