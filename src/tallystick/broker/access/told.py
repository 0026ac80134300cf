"""What a client may do with what it is told of (KIP-430): filled in where it asks for it.

Owns: those fields of responses. Must not know: how it is decided. Without access control lists everything is allowed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.security.acl import CLUSTER_NAME, OPERATIONS, ResourceType
from tallystick.broker.security.authorizer import Authorizer, operation_bits
from tallystick.wire.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class Told:
    """Where one API tells it. ``asked_by`` is the request's flag; None: it is always told."""

    asked_by: str | None
    resource_type: ResourceType
    into: str
    rows: str | None = None
    row_name: str = "name"


_TOLD: Final[dict[str, tuple[Told, ...]]] = {
    "metadata": (
        Told("include_topic_authorized_operations", ResourceType.TOPIC, "topic_authorized_operations", "topics"),
        Told("include_cluster_authorized_operations", ResourceType.CLUSTER, "cluster_authorized_operations"),
    ),
    "describe_cluster": (
        Told("include_cluster_authorized_operations", ResourceType.CLUSTER, "cluster_authorized_operations"),
    ),
    "describe_groups": (
        Told("include_authorized_operations", ResourceType.GROUP, "authorized_operations", "groups", "group_id"),
    ),
    "consumer_group_describe": (
        Told("include_authorized_operations", ResourceType.GROUP, "authorized_operations", "groups", "group_id"),
    ),
    "describe_topic_partitions": (Told(None, ResourceType.TOPIC, "topic_authorized_operations", "topics"),),
}


def telling(api: Api, authorizer: Authorizer | None) -> Api:
    """The API, with what the client may do filled in."""
    told = _TOLD.get(api.name)
    return api if told is None else dataclasses.replace(api, handle=_Telling(api.handle, told, authorizer))


@dataclass(frozen=True, slots=True)
class _Telling:
    handle: Callable[[RequestContext, Any], Awaitable[Any]]
    told: tuple[Told, ...]
    authorizer: Authorizer | None

    async def __call__(self, context: RequestContext, request: Any) -> Any:
        response = await self.handle(context, request)
        for told in self.told:
            if told.asked_by is None or getattr(request, told.asked_by, False):
                response = self._filled(context, response, told)
        return response

    def _filled(self, context: RequestContext, response: Any, told: Told) -> Any:
        if told.rows is None:
            if not hasattr(response, told.into):
                return response
            return dataclasses.replace(response, **{told.into: self._bits(context, told, CLUSTER_NAME)})
        return dataclasses.replace(
            response, **{told.rows: tuple(self._row(context, row, told) for row in getattr(response, told.rows))}
        )

    def _row(self, context: RequestContext, row: Any, told: Told) -> Any:
        if row.error_code is not ErrorCode.none or not hasattr(row, told.into):
            return row
        return dataclasses.replace(row, **{told.into: self._bits(context, told, getattr(row, told.row_name))})

    def _bits(self, context: RequestContext, told: Told, name: str) -> int:
        if self.authorizer is None:
            return operation_bits(OPERATIONS[told.resource_type])
        return self.authorizer.operations(context.principal, context.client_host, told.resource_type, name)
