"""DeleteRecords (21): give up the records of a partition before an offset; -1 stands for its high watermark."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode

_NO_LOW_WATERMARK: Final = -1


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("delete_records", context.api_version)
    return build.DeleteRecordsResponse(
        throttle_time=timedelta(0),
        topics=tuple(
            build.DeleteRecordsTopicResult(
                name=topic.name,
                partitions=tuple(_partition(build, context, topic.name, wanted) for wanted in topic.partitions),
            )
            for topic in request.topics
        ),
    )


def _partition(build: Any, context: RequestContext, topic: str, wanted: Any) -> Any:
    partition = context.node.partitions.partition(topic, wanted.partition_index)
    code, low_watermark = ErrorCode.unknown_topic_or_partition, _NO_LOW_WATERMARK
    if partition is not None:
        try:
            code, low_watermark = ErrorCode.none, partition.delete_records(wanted.offset)
        except ApiError as error:
            code = error.code
    return build.DeleteRecordsPartitionResult(
        partition_index=wanted.partition_index, low_watermark=low_watermark, error_code=code
    )


API = Api(key=21, name="delete_records", min_version=0, max_version=2, handle=handle)
