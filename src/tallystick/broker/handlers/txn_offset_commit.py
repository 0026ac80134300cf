"""TxnOffsetCommit (28): offsets that become visible when the transaction commits, fenced by member (KIP-447).

Version 5 (transaction version 2) is not answered.
"""

from __future__ import annotations

from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.groups.coordinator import Committer
from tallystick.broker.handlers.committed_rows import answer, offsets_of
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode


async def handle(context: RequestContext, request: Any) -> Any:
    errors = _commit(context, request)
    build = schema.response("txn_offset_commit", context.api_version)
    return answer(build, "TxnOffsetCommitResponse", request, errors)


def _commit(context: RequestContext, request: Any) -> dict[tuple[str, int], ErrorCode]:
    offsets = offsets_of(request)
    error = context.node.transactions.verify_group(
        request.transactional_id,
        request.producer_id,
        request.producer_epoch,
        request.group_id,
        connection_id=context.connection_id,
    )
    if error is not ErrorCode.none:
        return {(offset.topic, offset.partition): error for offset in offsets}
    return context.node.groups.commit_offsets_in_transaction(
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


API = Api(key=28, name="txn_offset_commit", min_version=0, max_version=4, handle=handle)
