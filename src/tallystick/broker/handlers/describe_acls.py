"""DescribeAcls (29): the entries of the access control lists that a filter means."""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.handlers.acl_filters import acl_filter, no_authorizer
from tallystick.broker.security.acl import Acl
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("describe_acls", context.api_version)
    code, message, found = ErrorCode.none, None, []
    try:
        no_authorizer(context)
        found = sorted(context.node.security.store.acls.find(acl_filter(request)))
    except ApiError as error:
        code, message = error.code, error.message
    return build.DescribeAclsResponse(
        throttle_time=timedelta(0),
        error_code=code,
        error_message=message,
        resources=tuple(
            build.DescribeAclsResource(
                resource_type=kind,
                resource_name=name,
                pattern_type=pattern,
                acls=tuple(
                    build.AclDescription(
                        principal=acl.principal,
                        host=acl.host,
                        operation=acl.operation,
                        permission_type=acl.permission,
                    )
                    for acl in entries
                ),
            )
            for (kind, name, pattern), entries in groupby(found, key=_pattern)
        ),
    )


def _pattern(acl: Acl) -> tuple[int, str, int]:
    return acl.resource_type, acl.resource_name, acl.pattern_type


API = Api(key=29, name="describe_acls", min_version=1, max_version=3, handle=handle, reads_only=True)
