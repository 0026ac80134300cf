"""AddPartitionsToTxn (24): all the named partitions become part of the transaction, or none.

Versions 0 to 3 are for clients of transaction version 1. Versions 4 and 5 are for brokers among themselves (KIP-890):
several transactions in one request, each to be added to or only to be verified; they are answered here as Apache Kafka
answers them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_FIRST_VERSION_WITH_FENCED: Final = 2
_FIRST_VERSION_FOR_BROKERS: Final = 4

Errors = Mapping[tuple[str, int], ErrorCode]


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("add_partitions_to_txn", context.api_version)
    if context.api_version >= _FIRST_VERSION_FOR_BROKERS:
        return build.AddPartitionsToTxnResponse(
            throttle_time=timedelta(0),
            error_code=ErrorCode.none,
            results_by_transaction=tuple(
                build.AddPartitionsToTxnResult(
                    transactional_id=transaction.transactional_id,
                    topic_results=_rows(build, transaction.topics, _add_or_verify(context, transaction)),
                )
                for transaction in request.transactions
            ),
        )
    return build.AddPartitionsToTxnResponse(
        throttle_time=timedelta(0),
        results_by_topic_v3_and_below=_rows(build, request.v3_and_below_topics, _add_for_client(context, request)),
    )


def _rows(build: Any, topics: Iterable[Any], errors: Errors) -> tuple[Any, ...]:
    return tuple(
        build.AddPartitionsToTxnTopicResult(
            name=topic.name,
            results_by_partition=tuple(
                build.AddPartitionsToTxnPartitionResult(
                    partition_index=index, partition_error_code=errors[topic.name, index]
                )
                for index in topic.partitions
            ),
        )
        for topic in topics
    )


def _partitions(topics: Iterable[Any]) -> list[tuple[str, int]]:
    return [(str(topic.name), index) for topic in topics for index in topic.partitions]


def _refused_as_unknown(context: RequestContext, wanted: list[tuple[str, int]]) -> Errors | None:
    """All or nothing: with one unknown partition, no other is tried."""
    unknown = {partition for partition in wanted if not context.node.partitions.exists(*partition)}
    if not unknown:
        return None
    return {
        p: ErrorCode.unknown_topic_or_partition if p in unknown else ErrorCode.operation_not_attempted for p in wanted
    }


def _add_for_client(context: RequestContext, request: Any) -> Errors:
    wanted = _partitions(request.v3_and_below_topics)
    refused = _refused_as_unknown(context, wanted)
    if refused is not None:
        return refused
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


def _add_or_verify(context: RequestContext, transaction: Any) -> Errors:
    wanted = _partitions(transaction.topics)
    refused = _refused_as_unknown(context, wanted)
    if refused is not None:
        return refused
    owner = (transaction.transactional_id, transaction.producer_id, transaction.producer_epoch)
    transactions = context.node.transactions
    if transaction.verify_only:
        return {partition: transactions.verify_partition(*owner, *partition) for partition in wanted}
    return dict.fromkeys(wanted, transactions.add_partitions(*owner, wanted, transaction_version=2))


API = Api(key=24, name="add_partitions_to_txn", min_version=0, max_version=5, handle=handle)
