"""WriteTxnMarkers (27): markers from outside, as ``kafka-transactions.sh abort`` sends them against a hanging
transaction (KIP-664).

The coordinator is not asked: this ends what is open in the partition, whatever the coordinator knows of it. Version 2
names the transaction version of the marker, and in version 2 of that a marker must have a higher epoch than the
records it ends (KIP-1228).
"""

from __future__ import annotations

from typing import Any

import structlog

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.producer_state import Reject
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

logger = structlog.get_logger(__name__)


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("write_txn_markers", context.api_version)
    return build.WriteTxnMarkersResponse(
        markers=tuple(
            build.WritableTxnMarkerResult(
                producer_id=marker.producer_id,
                topics=tuple(
                    build.WritableTxnMarkerTopicResult(
                        name=topic.name,
                        partitions=tuple(
                            build.WritableTxnMarkerPartitionResult(
                                partition_index=index, error_code=_write(context, marker, str(topic.name), index)
                            )
                            for index in topic.partition_indexes
                        ),
                    )
                    for topic in marker.topics
                ),
            )
            for marker in request.markers
        )
    )


def _write(context: RequestContext, marker: Any, topic: str, index: int) -> ErrorCode:
    partition = context.node.partitions.partition(topic, index)
    if partition is None:
        return ErrorCode.unknown_topic_or_partition
    if marker.producer_id < 0 or marker.producer_epoch < 0:
        return ErrorCode.invalid_request
    decision = partition.producers.check_marker(
        producer_id=marker.producer_id,
        producer_epoch=marker.producer_epoch,
        coordinator_epoch=marker.coordinator_epoch,
        transaction_version=getattr(marker, "transaction_version", 0),
    )
    if isinstance(decision, Reject):
        logger.info("a marker is refused", topic=topic, partition=index, reason=decision.reason)
        return decision.code
    logger.warning(
        "a transaction is ended from outside",
        topic=topic,
        partition=index,
        producer_id=marker.producer_id,
        producer_epoch=marker.producer_epoch,
        commit=marker.transaction_result,
        client_id=context.client_id,
    )
    try:
        context.node.partitions.append_marker(
            topic,
            index,
            producer_id=marker.producer_id,
            producer_epoch=marker.producer_epoch,
            commit=marker.transaction_result,
            coordinator_epoch=marker.coordinator_epoch,
            now_ms=context.node.clock.now_ms(),
        )
    except OSError:  # logged by the partition
        return ErrorCode.kafka_storage_error
    return ErrorCode.none


API = Api(key=27, name="write_txn_markers", min_version=1, max_version=2, handle=handle)
