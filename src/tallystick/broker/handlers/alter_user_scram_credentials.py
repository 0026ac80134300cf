"""AlterUserScramCredentials (51): set and remove SCRAM credentials (KIP-554).

The client sends salt and salted password; the password itself never comes here.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.security.scram_changes import Change, Deletion, Upsertion, decide
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode

logger = structlog.get_logger(__name__)


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("alter_user_scram_credentials", context.api_version)
    store = context.node.security.store
    results = []
    for user, decision in decide(store.credentials, _changes(request)).items():
        code, message = ErrorCode.none, None
        try:
            if isinstance(decision, ApiError):
                raise decision
            store.commit(decision)
            logger.info("SCRAM credentials were changed", user=user, by=str(context.principal))
        except ApiError as error:
            code, message = error.code, error.message
        results.append(build.AlterUserScramCredentialsResult(user=user, error_code=code, error_message=message))
    return build.AlterUserScramCredentialsResponse(throttle_time=timedelta(0), results=tuple(results))


def _changes(request: Any) -> list[Change]:
    deletions = [Deletion(row.name, row.mechanism) for row in request.deletions]
    upsertions = [
        Upsertion(
            user=row.name,
            mechanism=row.mechanism,
            iterations=row.iterations,
            salt=bytes(row.salt),
            salted_password=bytes(row.salted_password),
        )
        for row in request.upsertions
    ]
    return [*deletions, *upsertions]


API = Api(key=51, name="alter_user_scram_credentials", min_version=0, max_version=0, handle=handle)
