"""TxnOffsetCommit (28): offsets that become visible when the transaction commits, fenced by member (KIP-447).

From version 5 on the group joins the transaction by it, without AddOffsetsToTxn before (KIP-890).
"""

from __future__ import annotations

from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.groups.requests.offsets import Committer
from tallystick.broker.handlers.committed_rows import answer, offsets_of
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_FIRST_VERSION_WITH_TRANSACTION_ABORTABLE: Final = 4
_FIRST_VERSION_THAT_ADDS_THE_GROUP: Final = 5


async def handle(context: RequestContext, request: Any) -> Any:
    errors = _commit(context, request)
    build = schema.response("txn_offset_commit", context.api_version)
    return answer(context, build, "TxnOffsetCommitResponse", request, errors)


def _commit(context: RequestContext, request: Any) -> dict[tuple[str, int], ErrorCode]:
    offsets = offsets_of(context, request)
    error = context.node.transactions.admit_offsets(
        request.transactional_id,
        request.producer_id,
        request.producer_epoch,
        request.group_id,
        transaction_version=2 if context.api_version >= _FIRST_VERSION_THAT_ADDS_THE_GROUP else 0,
        connection_id=context.connection_id,
    )
    if error is not ErrorCode.none:
        return dict.fromkeys(((offset.topic, offset.partition) for offset in offsets), _code_for(context, error))
    return context.node.groups.offsets.commit_in_transaction(
        request.group_id,
        Committer(
            member_id=getattr(request, "member_id", ""),
            group_instance_id=getattr(request, "group_instance_id", None),
            generation_id=getattr(request, "generation_id", -1),
        ),
        offsets,
        producer_id=request.producer_id,
        producer_epoch=request.producer_epoch,
    )


def _code_for(context: RequestContext, error: ErrorCode) -> ErrorCode:
    """The name that clients expect from this API, in this version."""
    match error:
        case ErrorCode.producer_fenced:
            return ErrorCode.invalid_producer_epoch
        case ErrorCode.concurrent_transactions:
            return ErrorCode.coordinator_not_available
        case ErrorCode.transaction_abortable if context.api_version < _FIRST_VERSION_WITH_TRANSACTION_ABORTABLE:
            return ErrorCode.invalid_txn_state
        case _:
            return error


API = Api(key=28, name="txn_offset_commit", min_version=0, max_version=5, handle=handle)
