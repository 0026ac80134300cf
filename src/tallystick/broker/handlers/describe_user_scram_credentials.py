"""DescribeUserScramCredentials (50): who has a SCRAM credential, of which mechanism and strength (KIP-554)."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("describe_user_scram_credentials", context.api_version)
    credentials = context.node.security.store.credentials
    names = sorted(credentials.scram_users()) if not request.users else [row.name for row in request.users]
    times = Counter(names)
    results = []
    for name in times:
        held = credentials.of_user(name)
        code, message = ErrorCode.none, None
        if times[name] > 1:
            code, message = ErrorCode.duplicate_resource, f"user {name!r} is named twice"
        elif not held:
            code, message = ErrorCode.resource_not_found, f"user {name!r} has no SCRAM credential"
        results.append(
            build.DescribeUserScramCredentialsResult(
                user=name,
                error_code=code,
                error_message=message,
                credential_infos=tuple(
                    build.CredentialInfo(mechanism=mechanism.number, iterations=credential.iterations)
                    for mechanism, credential in held.items()
                    if code is ErrorCode.none
                ),
            )
        )
    return build.DescribeUserScramCredentialsResponse(
        throttle_time=timedelta(0), error_code=ErrorCode.none, error_message=None, results=tuple(results)
    )


API = Api(key=50, name="describe_user_scram_credentials", min_version=0, max_version=0, handle=handle, reads_only=True)
