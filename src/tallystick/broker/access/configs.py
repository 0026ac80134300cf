"""Settings of topics, brokers and groups: each kind of resource has an operation and an error code of its own.

Owns: the checks of the APIs that read and change settings. Must not know: the settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tallystick.broker.access.guard import Visit
from tallystick.broker.security.acl import CLUSTER_NAME, Operation, ResourceType
from tallystick.wire.errors import ErrorCode

_TOPIC: Final = 2
_BROKER: Final = 4
_BROKER_LOGGER: Final = 8
_CLIENT_METRICS: Final = 16
_GROUP: Final = 32

_KINDS: Final[dict[int, tuple[ResourceType, ErrorCode]]] = {
    _TOPIC: (ResourceType.TOPIC, ErrorCode.topic_authorization_failed),
    _GROUP: (ResourceType.GROUP, ErrorCode.group_authorization_failed),
    **dict.fromkeys(
        (_BROKER, _BROKER_LOGGER, _CLIENT_METRICS), (ResourceType.CLUSTER, ErrorCode.cluster_authorization_failed)
    ),
}


@dataclass(frozen=True, slots=True)
class Configs:
    """Each resource of the request needs the operation; a kind that does not exist is for the handler to tell."""

    operation: Operation
    into: str

    def __call__(self, visit: Visit) -> None:
        kept = []
        for row in visit.request.resources:
            code = self._refusal(visit, row)
            if code is None:
                kept.append(row)
            else:
                visit.refuse_rows(self.into, [row], code)
        if len(kept) < len(visit.request.resources):
            visit.change_request(resources=tuple(kept))

    def _refusal(self, visit: Visit, row: Any) -> ErrorCode | None:
        kind = _KINDS.get(row.resource_type)
        if kind is None:
            return None
        resource_type, code = kind
        name = CLUSTER_NAME if resource_type is ResourceType.CLUSTER else row.resource_name
        return None if visit.must(self.operation, resource_type, name) else code
