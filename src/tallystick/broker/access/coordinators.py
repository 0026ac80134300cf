"""FindCoordinator: DESCRIBE on what is to be coordinated, a group or a transactional id.

Owns: that check. Must not know: where the coordinator is.
"""

from __future__ import annotations

from typing import Any, Final

from tallystick.broker.access.guard import Visit
from tallystick.broker.security.acl import CLUSTER_NAME, Operation, ResourceType
from tallystick.wire.errors import ErrorCode

_GROUP: Final = 0
_FIRST_BATCHED: Final = 4


def found_coordinators(visit: Visit) -> None:
    """Refuse each key of the request that may not be known; a share group's coordinator is for brokers."""
    request = visit.request
    batched = visit.context.api_version >= _FIRST_BATCHED
    keys = request.coordinator_keys if batched else (request.key,)
    kept: list[Any] = []
    refused: list[Any] = []
    code = ErrorCode.cluster_authorization_failed
    for key in keys:
        match getattr(request, "key_type", _GROUP):
            case 0:  # a group
                allowed, code = _may(visit, ResourceType.GROUP, key), ErrorCode.group_authorization_failed
            case 1:  # a transaction
                allowed = _may(visit, ResourceType.TRANSACTIONAL_ID, key)
                code = ErrorCode.transactional_id_authorization_failed
            case _:
                allowed = visit.must(Operation.CLUSTER_ACTION, ResourceType.CLUSTER, CLUSTER_NAME)
        (kept if allowed else refused).append(key)
    if not refused:
        return
    if not batched:
        visit.refuse(code)
        return
    visit.refuse_rows("coordinators", refused, code)
    visit.change_request(coordinator_keys=tuple(kept))


def _may(visit: Visit, resource_type: ResourceType, name: str) -> bool:
    return visit.must(Operation.DESCRIBE, resource_type, name)
