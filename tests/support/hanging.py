"""Our broker with a transaction that hangs: written past every check, since nothing makes one hang there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tallystick.broker.instance import BrokerInstance
from tallystick.broker.options import BrokerOptions
from tallystick.broker.partition import Partition
from tallystick.wire.records import BatchSpec, encode_batch

TOPIC: Final = "t"
PRODUCER: Final = (4_711, 3)


@asynccontextmanager
async def hanging_here(data: Path) -> AsyncIterator[tuple[str, Partition]]:
    """``bootstrap`` and the partition 0 of ``TOPIC``; ``PRODUCER`` has a record in it that no coordinator knows of."""
    instance = await BrokerInstance.start(BrokerOptions(host="127.0.0.1", port=0, data=data))
    try:
        topics = instance.node.partitions
        topics.create(TOPIC, partition_count=1)
        partition = topics.partition(TOPIC, 0)
        assert partition is not None
        producer_id, epoch = PRODUCER
        spec = BatchSpec(
            producer_id=producer_id, producer_epoch=epoch, base_sequence=0, transactional=True, timestamp_ms=1
        )
        partition.append(encode_batch([(None, b"hanging")], spec), verify=lambda *_: 0)
        yield f"127.0.0.1:{instance.port}", partition
    finally:
        await instance.stop()
