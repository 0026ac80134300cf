"""The one place in a request's way where something may step in between: fault injection.

Owns: the port, and the two ways in which a request may end without an answer. Must not know: who steps in, and why.
A server without an interceptor pays one comparison for each request.
"""

from __future__ import annotations

from typing import Any, Protocol

from tallystick.broker.api import Api, RequestContext


class ConnectionCut(ConnectionError):
    """The connection ends now. Whatever was not sent yet is never sent."""


class ConnectionSilent(Exception):
    """Nothing is answered on this connection any more; it stays open until the client gives it up.

    A broker answers in order, so that one answer that never comes keeps all later ones of its connection back.
    """


class Interceptor(Protocol):
    """Stands between the server and the handlers."""

    async def handle(self, api: Api, context: RequestContext, request: Any) -> Any:
        """The response in place of ``api.handle(context, request)``, None for no answer (as there).

        Raises ``ConnectionCut`` or ``ConnectionSilent``.
        """
        ...
