"""InitProducerId (22): a producer id and an epoch; with a transactional id, the one before is fenced (KIP-98, KIP-360).

Version 6 (two-phase commit, KIP-939) is not answered: Apache Kafka 4.3 does not offer it either.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_FIRST_VERSION_WITH_FENCED: Final = 4


async def handle(context: RequestContext, request: Any) -> Any:
    producer = context.node.transactions.init_producer_id(
        request.transactional_id,
        timeout_ms=request.transaction_timeout // timedelta(milliseconds=1),
        producer_id=getattr(request, "producer_id", -1),
        producer_epoch=getattr(request, "producer_epoch", -1),
        connection_id=context.connection_id,
    )
    error = producer.error
    if error is ErrorCode.producer_fenced and context.api_version < _FIRST_VERSION_WITH_FENCED:
        error = ErrorCode.invalid_producer_epoch
    build = schema.response("init_producer_id", context.api_version)
    return build.InitProducerIdResponse(
        throttle_time=timedelta(0),
        error_code=error,
        producer_id=producer.producer_id,
        producer_epoch=producer.producer_epoch,
    )


API = Api(key=22, name="init_producer_id", min_version=0, max_version=5, handle=handle)
