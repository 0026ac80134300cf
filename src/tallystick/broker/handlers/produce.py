"""Produce (0): append one batch per partition. acks=0 gets no answer.

Versions 12 and 13 belong to transaction version 2 (KIP-890), which is not finalised here, so 11 is the highest.
Versions 0 to 2 are named in ApiVersions and refused, as Apache Kafka 4 does: librdkafka compresses only if it sees them
(KAFKA-18659).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.partition import Appended
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode

logger = structlog.get_logger(__name__)

_LEGAL_ACKS = (-1, 0, 1)
_FIRST_VERSION_WITH_TRANSACTION_ABORTABLE = 11


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("produce", context.api_version)
    responses = tuple(
        build.TopicProduceResponse(
            name=topic.name,
            partition_responses=tuple(
                _partition(build, context, request, topic.name, data) for data in topic.partition_data
            ),
        )
        for topic in request.topic_data
    )
    if request.acks == 0:
        return None
    return build.ProduceResponse(responses=responses, throttle_time=timedelta(0))


def _partition(build: Any, context: RequestContext, request: Any, topic: str, data: Any) -> Any:
    code, message = ErrorCode.none, None
    base_offset = log_start_offset = -1
    try:
        appended = _append(context, request, topic, data)
        base_offset = appended.base_offset
        log_start_offset = 0
    except ApiError as error:
        code, message = _code_for(context.api_version, error.code), error.message
        logger.info("a batch is refused", topic=topic, partition=data.index, code=code.name, reason=message)
    return build.PartitionProduceResponse(
        index=data.index,
        error_code=code,
        base_offset=base_offset,
        log_append_time=None,
        log_start_offset=log_start_offset,
        record_errors=(),
        error_message=message,
    )


def _append(context: RequestContext, request: Any, topic: str, data: Any) -> Appended:
    if request.acks not in _LEGAL_ACKS:
        raise ApiError(ErrorCode.invalid_required_acks, f"acks={request.acks}")
    partition = context.node.partitions.partition(topic, data.index)
    if partition is None:
        raise ApiError(ErrorCode.unknown_topic_or_partition, f"there is no partition {topic}-{data.index}")
    if not data.records:
        raise ApiError(ErrorCode.invalid_record, "no records")

    def verify(producer_id: int, producer_epoch: int) -> int:
        if request.transactional_id is None:
            return int(ErrorCode.invalid_txn_state)
        return context.node.transactions.verify_partition(
            request.transactional_id, producer_id, producer_epoch, topic, data.index
        )

    return partition.append(data.records, verify=verify)


def _code_for(api_version: int, code: ErrorCode) -> ErrorCode:
    """A client that does not know TRANSACTION_ABORTABLE gets the error that it did know (KIP-890)."""
    if code is ErrorCode.transaction_abortable and api_version < _FIRST_VERSION_WITH_TRANSACTION_ABORTABLE:
        return ErrorCode.invalid_txn_state
    return code


API = Api(key=0, name="produce", min_version=3, max_version=11, advertised_min_version=0, handle=handle)
