"""The transactional consume-process-produce loop of aiokafka's documentation.

As there: ``getmany``, ``async with producer.transaction()``, and ``send_offsets_to_transaction(offsets, group_id)``,
which knows no member and no generation.
"""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from bench.contenders.place import BATCH_RECORDS, SESSION_TIMEOUT_MS, place


async def main() -> None:
    here = place()
    consumer = AIOKafkaConsumer(
        here.source,
        bootstrap_servers=here.bootstrap,
        group_id=here.group,
        session_timeout_ms=SESSION_TIMEOUT_MS,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(bootstrap_servers=here.bootstrap, transactional_id=f"{here.group}-{here.slot}")
    await consumer.start()
    await producer.start()
    try:
        while True:
            batch = await consumer.getmany(timeout_ms=200, max_records=BATCH_RECORDS)
            if not batch:
                continue
            async with producer.transaction():
                offsets = {}
                for partition, messages in batch.items():
                    for message in messages:
                        await producer.send(here.sink, value=message.value, key=message.key)
                    offsets[partition] = messages[-1].offset + 1
                await producer.send_offsets_to_transaction(offsets, here.group)
    finally:
        await consumer.stop()
        await producer.stop()


if __name__ == "__main__":
    asyncio.run(main())
