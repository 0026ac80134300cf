"""DescribeProducers (61): which producers a partition remembers, and whose transaction is open there (KIP-664)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.producer_state import ProducerEntry
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_NONE: Final = -1


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("describe_producers", context.api_version)
    return build.DescribeProducersResponse(
        throttle_time=timedelta(0),
        topics=tuple(
            build.TopicResponse(
                name=name, partitions=tuple(_partition(build, context, name, index) for index in indexes)
            )
            for name, indexes in _once(request.topics).items()
        ),
    )


def _once(topics: Iterable[Any]) -> dict[str, dict[int, None]]:
    """Each partition once: else a short request could ask for a very long answer."""
    wanted: dict[str, dict[int, None]] = {}
    for topic in topics:
        wanted.setdefault(str(topic.name), {}).update(dict.fromkeys(topic.partition_indexes))
    return wanted


def _partition(build: Any, context: RequestContext, topic: str, index: int) -> Any:
    partition = context.node.partitions.partition(topic, index)
    if partition is None:
        return build.PartitionResponse(
            partition_index=index,
            error_code=ErrorCode.unknown_topic_or_partition,
            error_message=f"there is no partition {topic}-{index}",
            active_producers=(),
        )
    return build.PartitionResponse(
        partition_index=index,
        error_code=ErrorCode.none,
        error_message=None,
        active_producers=tuple(_producer(build, entry) for entry in partition.producers.producers.values()),
    )


def _producer(build: Any, entry: ProducerEntry) -> Any:
    return build.ProducerState(
        producer_id=entry.producer_id,
        producer_epoch=entry.producer_epoch,
        last_sequence=entry.last_sequence,
        last_timestamp=entry.last_timestamp_ms,
        coordinator_epoch=entry.coordinator_epoch,
        current_txn_start_offset=_NONE if entry.transaction_first_offset is None else entry.transaction_first_offset,
    )


API = Api(key=61, name="describe_producers", min_version=0, max_version=0, handle=handle, reads_only=True)
