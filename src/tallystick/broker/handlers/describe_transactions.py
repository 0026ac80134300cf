"""DescribeTransactions (65): what is known of transactional ids (KIP-664)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("describe_transactions", context.api_version)
    return build.DescribeTransactionsResponse(
        throttle_time=timedelta(0),
        transaction_states=tuple(
            _describe(build, context, transactional_id) for transactional_id in dict.fromkeys(request.transactional_ids)
        ),
    )


def _describe(build: Any, context: RequestContext, transactional_id: str) -> Any:
    state = context.node.transactions.transaction(transactional_id)
    if state is None:
        return build.TransactionState(
            error_code=ErrorCode.transactional_id_not_found if transactional_id else ErrorCode.invalid_request,
            transactional_id=transactional_id,
            transaction_state="",
            transaction_timeout=timedelta(0),
            transaction_start_time=_EPOCH,
            producer_id=0,
            producer_epoch=0,
            topics=(),
        )
    return build.TransactionState(
        error_code=ErrorCode.none,
        transactional_id=transactional_id,
        transaction_state=state.status.value,
        transaction_timeout=timedelta(milliseconds=state.timeout_ms),
        transaction_start_time=_EPOCH + timedelta(milliseconds=state.started_ms),
        producer_id=state.producer_id,
        producer_epoch=state.producer_epoch,
        topics=tuple(
            build.TopicData(topic=topic, partitions=tuple(index for _, index in rows))
            for topic, rows in groupby(sorted(state.partitions), key=lambda partition: partition[0])
        ),
    )


API = Api(key=65, name="describe_transactions", min_version=0, max_version=0, handle=handle, reads_only=True)
