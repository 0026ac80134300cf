"""Produce (0): append one batch per partition. acks=0 gets no answer.

Version 12 adds a partition to the transaction that writes to it (KIP-890). Version 13 names topics by id and is not
answered.
Versions 0 to 2 are named in ApiVersions and refused, as Apache Kafka 4 does: librdkafka compresses only if it sees them
(KAFKA-18659).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.handlers.transactional_batches import refusals
from tallystick.broker.limits import MAX_LOG_LINES_PER_REQUEST
from tallystick.broker.partition import Appended
from tallystick.broker.produced_batch import RecordsRefused
from tallystick.broker.unpacking import Unpacking
from tallystick.wire import schema
from tallystick.wire.batch import codec_of
from tallystick.wire.compression import ZSTD
from tallystick.wire.errors import ApiError, ErrorCode

logger = structlog.get_logger(__name__)

_LEGAL_ACKS = (-1, 0, 1)
_FIRST_VERSION_WITH_ZSTD: Final = 7
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


async def handle(context: RequestContext, request: Any) -> Any:
    refused = refusals(context, request)
    build = schema.response("produce", context.api_version)
    work = _Work(context, request)
    responses = tuple(
        build.TopicProduceResponse(
            name=topic.name,
            partition_responses=tuple(
                _partition(build, work, topic.name, data, refused.get((topic.name, data.index), ErrorCode.none))
                for data in topic.partition_data
            ),
        )
        for topic in request.topic_data
    )
    if request.acks == 0:
        return None
    return build.ProduceResponse(responses=responses, throttle_time=timedelta(0))


@dataclass(slots=True)
class _Work:
    """One request, and what its batches may still cost together."""

    context: RequestContext
    request: Any
    unpacking: Unpacking = field(default_factory=Unpacking)
    may_log: int = MAX_LOG_LINES_PER_REQUEST

    def log_refusal(self, topic: str, index: int, error: ApiError) -> None:
        if self.may_log:
            self.may_log -= 1
            logger.info("a batch is refused", topic=topic, partition=index, code=error.code.name, reason=error.message)


def _partition(build: Any, work: _Work, topic: str, data: Any, refusal: ErrorCode) -> Any:
    code, message = ErrorCode.none, None
    base_offset = log_start_offset = -1
    log_append_time = None
    record_errors: tuple[Any, ...] = ()
    try:
        appended = _append(work, topic, data, refusal)
        base_offset = appended.base_offset
        log_start_offset = appended.log_start_offset
        if appended.log_append_time_ms is not None:
            log_append_time = _EPOCH + timedelta(milliseconds=appended.log_append_time_ms)
    except ApiError as error:
        code, message = error.code, error.message
        if isinstance(error, RecordsRefused) and hasattr(build, "BatchIndexAndErrorMessage"):
            record_errors = tuple(
                build.BatchIndexAndErrorMessage(batch_index=row.batch_index, batch_index_error_message=row.message)
                for row in error.record_errors
            )
        work.log_refusal(topic, data.index, error)
    return build.PartitionProduceResponse(
        index=data.index,
        error_code=code,
        base_offset=base_offset,
        log_append_time=log_append_time,
        log_start_offset=log_start_offset,
        record_errors=record_errors,
        error_message=message,
    )


def _append(work: _Work, topic: str, data: Any, refusal: ErrorCode) -> Appended:
    context, acks = work.context, work.request.acks
    if acks not in _LEGAL_ACKS:
        raise ApiError(ErrorCode.invalid_required_acks, f"acks={acks}")
    partition = context.node.partitions.partition(topic, data.index)
    if partition is None:
        raise ApiError(ErrorCode.unknown_topic_or_partition, f"there is no partition {topic}-{data.index}")
    if not data.records:
        raise ApiError(ErrorCode.invalid_record, "no records")
    if context.api_version < _FIRST_VERSION_WITH_ZSTD and codec_of(data.records) == ZSTD:
        raise ApiError(ErrorCode.unsupported_compression_type, f"version {context.api_version} does not know zstd")
    if refusal is ErrorCode.transactional_id_authorization_failed:
        raise ApiError(refusal, "transactional batches without a transactional id")
    return partition.append(
        data.records, verify=lambda _producer_id, _producer_epoch: int(refusal), unpacking=work.unpacking
    )


API = Api(key=0, name="produce", min_version=3, max_version=12, advertised_min_version=0, handle=handle)
