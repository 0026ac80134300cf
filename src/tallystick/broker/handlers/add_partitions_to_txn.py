"""AddPartitionsToTxn (24): all the named partitions become part of the transaction, or none.

Versions 4 and 5 are for brokers among themselves (KIP-890) and are not answered.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_FIRST_VERSION_WITH_FENCED: Final = 2


async def handle(context: RequestContext, request: Any) -> Any:
    errors = _add(context, request)
    build = schema.response("add_partitions_to_txn", context.api_version)
    return build.AddPartitionsToTxnResponse(
        throttle_time=timedelta(0),
        results_by_topic_v3_and_below=tuple(
            build.AddPartitionsToTxnTopicResult(
                name=topic.name,
                results_by_partition=tuple(
                    build.AddPartitionsToTxnPartitionResult(
                        partition_index=index, partition_error_code=errors[topic.name, index]
                    )
                    for index in topic.partitions
                ),
            )
            for topic in request.v3_and_below_topics
        ),
    )


def _add(context: RequestContext, request: Any) -> dict[tuple[str, int], ErrorCode]:
    wanted = [(str(topic.name), index) for topic in request.v3_and_below_topics for index in topic.partitions]
    unknown = {partition for partition in wanted if not context.node.partitions.exists(*partition)}
    if unknown:
        return {
            p: ErrorCode.unknown_topic_or_partition if p in unknown else ErrorCode.operation_not_attempted
            for p in wanted
        }
    error = context.node.transactions.add_partitions(
        request.v3_and_below_transactional_id,
        request.v3_and_below_producer_id,
        request.v3_and_below_producer_epoch,
        wanted,
        connection_id=context.connection_id,
    )
    if error is ErrorCode.producer_fenced and context.api_version < _FIRST_VERSION_WITH_FENCED:
        error = ErrorCode.invalid_producer_epoch
    return dict.fromkeys(wanted, error)


API = Api(key=24, name="add_partitions_to_txn", min_version=0, max_version=3, handle=handle)
