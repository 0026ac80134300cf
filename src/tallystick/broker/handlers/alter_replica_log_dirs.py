"""AlterReplicaLogDirs (34): there is one data folder, so that a partition can only stay where it is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("alter_replica_log_dirs", context.api_version)
    folder = str(context.node.folder.path.absolute())
    codes: dict[str, dict[int, ErrorCode]] = {}
    for row in request.dirs:
        for topic in row.topics:
            for index in topic.partitions:
                if row.path != folder:
                    code = ErrorCode.log_dir_not_found
                elif context.node.partitions.exists(topic.name, index):
                    code = ErrorCode.none
                else:
                    code = ErrorCode.unknown_topic_or_partition
                codes.setdefault(topic.name, {})[index] = code
    return build.AlterReplicaLogDirsResponse(
        throttle_time=timedelta(0),
        results=tuple(
            build.AlterReplicaLogDirTopicResult(
                topic_name=name,
                partitions=tuple(
                    build.AlterReplicaLogDirPartitionResult(partition_index=index, error_code=code)
                    for index, code in partitions.items()
                ),
            )
            for name, partitions in codes.items()
        ),
    )


API = Api(key=34, name="alter_replica_log_dirs", min_version=1, max_version=2, handle=handle)
