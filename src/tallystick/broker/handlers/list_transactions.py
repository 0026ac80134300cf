"""ListTransactions (66): transactional ids by state, producer id and age of the transaction (KIP-664, KIP-994)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.transactions.records import TransactionStatus
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode


async def handle(context: RequestContext, request: Any) -> Any:
    known = {status.value for status in TransactionStatus}
    states = set(request.state_filters)
    producer_ids = set(request.producer_id_filters)
    duration_ms = getattr(request, "duration_filter", -1)
    started_before_ms = context.node.clock.now_ms() - duration_ms
    build = schema.response("list_transactions", context.api_version)
    return build.ListTransactionsResponse(
        throttle_time=timedelta(0),
        error_code=ErrorCode.none,
        unknown_state_filters=tuple(sorted(states - known)),
        transaction_states=tuple(
            build.TransactionState(
                transactional_id=state.transactional_id,
                producer_id=state.producer_id,
                transaction_state=state.status.value,
            )
            for state in context.node.transactions.transactions()
            if (not states or state.status.value in states)
            and (not producer_ids or state.producer_id in producer_ids)
            and (duration_ms < 0 or state.started_ms < started_before_ms)
        ),
    )


API = Api(key=66, name="list_transactions", min_version=0, max_version=1, handle=handle, reads_only=True)
