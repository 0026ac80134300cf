"""DeleteAcls (31): every entry of the access control lists that a filter means."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.handlers.acl_filters import acl_filter, no_authorizer
from tallystick.broker.security.acl import Acl
from tallystick.broker.security.records import AclRemoved
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode

logger = structlog.get_logger(__name__)


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("delete_acls", context.api_version)
    results = []
    for row in request.filters:
        code, message = ErrorCode.none, None
        deleted: list[Acl] = []
        try:
            no_authorizer(context)
            for acl in context.node.security.store.acls.find(acl_filter(row)):
                context.node.security.store.commit([AclRemoved(*acl)])
                deleted.append(acl)
                logger.info("an access control entry was removed", acl=str(acl), by=str(context.principal))
        except ApiError as error:
            code, message = error.code, error.message
        results.append(
            build.DeleteAclsFilterResult(
                error_code=code,
                error_message=message,
                matching_acls=tuple(
                    build.DeleteAclsMatchingAcl(
                        error_code=ErrorCode.none,
                        error_message=None,
                        resource_type=acl.resource_type,
                        resource_name=acl.resource_name,
                        pattern_type=acl.pattern_type,
                        principal=acl.principal,
                        host=acl.host,
                        operation=acl.operation,
                        permission_type=acl.permission,
                    )
                    for acl in deleted
                ),
            )
        )
    return build.DeleteAclsResponse(throttle_time=timedelta(0), filter_results=tuple(results))


API = Api(key=31, name="delete_acls", min_version=1, max_version=3, handle=handle)
