"""CreateDelegationToken (38): refused, as ``delegation_tokens`` explains."""

from __future__ import annotations

from tallystick.broker.api import Api
from tallystick.broker.handlers.delegation_tokens import refuse

API = Api(key=38, name="create_delegation_token", min_version=1, max_version=3, handle=refuse, reads_only=True)
