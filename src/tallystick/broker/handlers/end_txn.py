"""EndTxn (26): commit or abort; answered when every marker and every offset is in place (KAFKA-17507).

From version 5 on it is transaction version 2: the answer carries the epoch of the next transaction (KIP-890).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_FIRST_VERSION_WITH_FENCED: Final = 2
_FIRST_VERSION_WITH_EPOCH: Final = 5


async def handle(context: RequestContext, request: Any) -> Any:
    producer = context.node.transactions.end(
        request.transactional_id,
        request.producer_id,
        request.producer_epoch,
        commit=request.committed,
        transaction_version=2 if context.api_version >= _FIRST_VERSION_WITH_EPOCH else 0,
        connection_id=context.connection_id,
    )
    error = producer.error
    if error is ErrorCode.producer_fenced and context.api_version < _FIRST_VERSION_WITH_FENCED:
        error = ErrorCode.invalid_producer_epoch
    build = schema.response("end_txn", context.api_version)
    return build.EndTxnResponse(
        throttle_time=timedelta(0),
        error_code=error,
        producer_id=producer.producer_id,
        producer_epoch=producer.producer_epoch,
    )


API = Api(key=26, name="end_txn", min_version=0, max_version=5, handle=handle)
