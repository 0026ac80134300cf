"""OffsetCommit (8): offsets outside a transaction, fenced by member and generation or epoch.

From version 10 on topics are named by their id.
"""

from __future__ import annotations

from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.groups.requests.offsets import Committer
from tallystick.broker.handlers.committed_rows import answer, offsets_of
from tallystick.wire import schema

_FIRST_VERSION_WITH_MEMBER_EPOCH: Final = 9


async def handle(context: RequestContext, request: Any) -> Any:
    offsets = offsets_of(context, request)
    errors = context.node.groups.offsets.commit(
        request.group_id,
        Committer(
            member_id=request.member_id,
            group_instance_id=getattr(request, "group_instance_id", None),
            generation_id=request.generation_id_or_member_epoch,
            speaks_member_epochs=context.api_version >= _FIRST_VERSION_WITH_MEMBER_EPOCH,
        ),
        offsets,
    )
    build = schema.response("offset_commit", context.api_version)
    return answer(context, build, "OffsetCommitResponse", request, errors)


API = Api(key=8, name="offset_commit", min_version=2, max_version=10, handle=handle)
