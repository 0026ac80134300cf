"""Produce (0): append one batch per partition. acks=0 gets no answer.

Version 12 adds a partition to the transaction that writes to it (KIP-890). Version 13 names topics by id and is not
answered.
Versions 0 to 2 are named in ApiVersions and refused, as Apache Kafka 4 does: librdkafka compresses only if it sees them
(KAFKA-18659).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import structlog

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.handlers.transactional_batches import refusals
from tallystick.broker.limits import MAX_LOG_LINES_PER_REQUEST
from tallystick.broker.partition import Appended
from tallystick.broker.produced_batch import RecordsRefused
from tallystick.broker.unpacking import Unpacking
from tallystick.wire import schema
from tallystick.wire.batch import NO_TIMESTAMP, Batch, codec_of
from tallystick.wire.compression import ZSTD
from tallystick.wire.errors import ApiError, ErrorCode
from tallystick.wire.short_rows import Produced

logger = structlog.get_logger(__name__)

_LEGAL_ACKS = (-1, 0, 1)
_FIRST_VERSION_WITH_ZSTD: Final = 7
_NO_TIME: Final = timedelta(0)
_NO_REFUSAL: Final = ErrorCode.none


async def handle(context: RequestContext, request: Any) -> Any:
    refused = refusals(context, request)
    build = schema.response("produce", context.api_version)
    work = _Work(context, build, request.acks)
    responses = tuple(
        build.TopicProduceResponse(
            name=topic.name,
            partition_responses=tuple(
                [
                    work.answer(
                        topic.name, data.index, data.records, refused.get((topic.name, data.index), _NO_REFUSAL)
                    )
                    for data in topic.partition_data
                ]
            ),
        )
        for topic in request.topic_data
    )
    if request.acks == 0:
        return None
    return build.ProduceResponse(responses=responses, throttle_time=_NO_TIME)


class _Work:
    """One request, and what its batches may still cost together."""

    __slots__ = ("_acks", "_build", "_context", "_may_log", "_unpacking")

    def __init__(self, context: RequestContext, build: Any, acks: int) -> None:
        self._context = context
        self._build = build
        self._acks = acks
        self._unpacking = Unpacking()
        self._may_log = MAX_LOG_LINES_PER_REQUEST

    def answer(self, topic: str, index: int, records: Batch | None, refusal: ErrorCode) -> Any:
        """The row of one partition, once its batch is written or refused."""
        try:
            appended = self._append(topic, index, records, refusal)
        except ApiError as error:
            return self._refused(topic, index, error)
        append_time_ms = appended.log_append_time_ms
        return Produced(
            index,
            appended.base_offset,
            NO_TIMESTAMP if append_time_ms is None else append_time_ms,
            appended.log_start_offset,
        )

    def _append(self, topic: str, index: int, records: Batch | None, refusal: ErrorCode) -> Appended:
        acks, api_version = self._acks, self._context.api_version
        if acks not in _LEGAL_ACKS:
            raise ApiError(ErrorCode.invalid_required_acks, f"acks={acks}")
        partition = self._context.node.partitions.partition(topic, index)
        if partition is None:
            raise ApiError(ErrorCode.unknown_topic_or_partition, f"there is no partition {topic}-{index}")
        if not records:
            raise ApiError(ErrorCode.invalid_record, "no records")
        if api_version < _FIRST_VERSION_WITH_ZSTD and codec_of(records) == ZSTD:
            raise ApiError(ErrorCode.unsupported_compression_type, f"version {api_version} does not know zstd")
        if refusal is ErrorCode.transactional_id_authorization_failed:
            raise ApiError(refusal, "transactional batches without a transactional id")
        return partition.append(records, verify=lambda _, __: int(refusal), unpacking=self._unpacking)

    def _refused(self, topic: str, index: int, error: ApiError) -> Any:
        if self._may_log:
            self._may_log -= 1
            logger.info("a batch is refused", topic=topic, partition=index, code=error.code.name, reason=error.message)
        build = self._build
        record_errors: tuple[Any, ...] = ()
        if isinstance(error, RecordsRefused) and hasattr(build, "BatchIndexAndErrorMessage"):
            record_errors = tuple(
                build.BatchIndexAndErrorMessage(batch_index=row.batch_index, batch_index_error_message=row.message)
                for row in error.record_errors
            )
        return build.PartitionProduceResponse(
            index=index,
            error_code=error.code,
            base_offset=-1,
            log_append_time=None,
            log_start_offset=-1,
            record_errors=record_errors,
            error_message=error.message,
        )


API = Api(key=0, name="produce", min_version=3, max_version=12, advertised_min_version=0, handle=handle)
