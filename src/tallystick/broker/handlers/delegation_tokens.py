"""Why the four APIs of delegation tokens (KIP-48) are refused.

Apache Kafka refuses them in the same words until it is given a key to sign tokens with. This broker never is: another
user of one node is made by AlterUserScramCredentials.
"""

from __future__ import annotations

from typing import Any

from tallystick.broker.api import RequestContext
from tallystick.wire.errors import ErrorCode
from tallystick.wire.refusals import refusal


async def refuse(context: RequestContext, request: Any) -> Any:
    """The refusal of any of them."""
    anonymous = context.authentication is None
    return refusal(
        request,
        ErrorCode.delegation_token_request_not_allowed if anonymous else ErrorCode.delegation_token_auth_disabled,
    )
