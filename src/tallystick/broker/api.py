"""What one API key is: number, name, version range and the function that answers it.

Owns: ``Api``, and the context that a handler gets. Must not know: which APIs there are (``registry``), sockets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from tallystick.broker.security.authentication import Authentication
from tallystick.broker.security.principal import ANONYMOUS, Principal

if TYPE_CHECKING:
    from tallystick.broker.node import Node


class RequestContext(msgspec.Struct, frozen=True):
    """Who asks, on which version, and of which node.

    ``authentication`` is there on a connection that came in over a listener with SASL. ``advertised`` is the address
    that this listener tells of itself; None: the node's own.
    """

    node: Node
    api_version: int
    client_id: str | None
    client_host: str
    connection_id: int
    principal: Principal = ANONYMOUS
    authentication: Authentication | None = None
    advertised: tuple[str, int] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that this client is to connect to."""
        return self.advertised or (self.node.host, self.node.port)


@dataclass(frozen=True, slots=True)
class Api:
    """One API key. ``handle`` gets kio's request of ``context.api_version`` and returns kio's response of that version.

    ``None`` as a response means: this request is not answered (Produce with acks=0). ``name`` is kio's module name, as
    in ``kio.schema.<name>``. ``advertised_min_version`` lets ApiVersions name a lower version than is answered, where
    clients insist on seeing it (KAFKA-18659). The answer of an API that ``reads_only`` never waits for the disk.
    ApiVersions does not name one that is not ``is_advertised``; it is answered all the same.
    """

    key: int
    name: str
    min_version: int
    max_version: int
    handle: Callable[[RequestContext, Any], Awaitable[Any]]
    advertised_min_version: int | None = None
    reads_only: bool = False
    is_advertised: bool = True
