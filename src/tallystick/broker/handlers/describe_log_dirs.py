"""DescribeLogDirs (35): the one data folder, and how large the partitions in it are."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("describe_log_dirs", context.api_version)
    topics = context.node.partitions
    if request.topics is None:
        wanted = {topic.name: range(len(topic.partitions)) for topic in topics.all()}
    else:
        wanted = {row.topic: row.partitions for row in request.topics}
    rows = []
    for name, indexes in wanted.items():
        found = [(index, topics.partition(name, index)) for index in dict.fromkeys(indexes)]
        partitions = tuple(
            build.DescribeLogDirsPartition(
                partition_index=index,
                partition_size=sum(segment.size_bytes for segment in partition.log.segments),
                offset_lag=0,
                is_future_key=False,
            )
            for index, partition in found
            if partition is not None
        )
        if partitions:
            rows.append(build.DescribeLogDirsTopic(name=name, partitions=partitions))
    folder = context.node.folder.path.absolute()
    disk = shutil.disk_usage(folder)
    result = build.DescribeLogDirsResult(
        error_code=ErrorCode.none,
        log_dir=str(folder),
        topics=tuple(rows),
        total_bytes=disk.total,
        usable_bytes=disk.free,
        is_cordoned=False,
    )
    return build.DescribeLogDirsResponse(throttle_time=timedelta(0), error_code=ErrorCode.none, results=(result,))


API = Api(key=35, name="describe_log_dirs", min_version=1, max_version=5, handle=handle)
