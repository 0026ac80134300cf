"""CreateAcls (30): entries for the access control lists; one that is there already is there once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.handlers.acl_filters import no_authorizer
from tallystick.broker.security.acl import checked_acl
from tallystick.broker.security.records import AclAdded
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode

logger = structlog.get_logger(__name__)


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("create_acls", context.api_version)
    results = []
    for row in request.creations:
        code, message = ErrorCode.none, None
        try:
            no_authorizer(context)
            _create(context, row)
        except ApiError as error:
            code, message = error.code, error.message
        results.append(build.AclCreationResult(error_code=code, error_message=message))
    return build.CreateAclsResponse(throttle_time=timedelta(0), results=tuple(results))


def _create(context: RequestContext, row: Any) -> None:
    acl = checked_acl(
        resource_type=row.resource_type,
        resource_name=row.resource_name,
        pattern_type=row.resource_pattern_type,
        principal=row.principal,
        host=row.host,
        operation=row.operation,
        permission=row.permission_type,
    )
    store = context.node.security.store
    if acl in store.acls:
        return
    if not store.acls.has_room:
        raise ApiError(ErrorCode.policy_violation, "There are too many entries in the access control lists")
    store.commit([AclAdded(*acl)])
    logger.info("an access control entry was added", acl=str(acl), by=str(context.principal))


API = Api(key=30, name="create_acls", min_version=1, max_version=3, handle=handle)
