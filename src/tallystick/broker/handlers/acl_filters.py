"""What the three APIs of access control lists share: filters as they are sent, and the answer without an authorizer.

Owns: reading a filter. Must not know: what it is for.
"""

from __future__ import annotations

from typing import Any

from tallystick.broker.api import RequestContext
from tallystick.broker.security.acl import AclFilter, check_filter
from tallystick.wire.errors import ApiError, ErrorCode


def no_authorizer(context: RequestContext) -> None:
    """``ApiError`` SECURITY_DISABLED if nobody would look at the lists."""
    if context.node.security.authorizer is None:
        raise ApiError(ErrorCode.security_disabled, "No Authorizer is configured; start the broker with --acls")


def acl_filter(row: Any) -> AclFilter:
    """The filter in a request or a row of one; ``ApiError`` if it means nothing."""
    wanted = AclFilter(
        resource_type=row.resource_type_filter,
        resource_name=row.resource_name_filter,
        pattern_type=row.pattern_type_filter,
        principal=row.principal_filter,
        host=row.host_filter,
        operation=row.operation,
        permission=row.permission_type,
    )
    check_filter(wanted)
    return wanted
