"""A node without sockets, and a raw client without a client library."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.wire import request

from tallystick.broker.api import RequestContext
from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.log.settings import DEFAULTS, LogSettings
from tallystick.broker.node import Node, open_node
from tallystick.broker.node_settings import NodeSettings
from tallystick.broker.security.settings import SecuritySettings
from tallystick.broker.transactions.settings import DEFAULTS as TRANSACTION_DEFAULTS
from tallystick.broker.transactions.settings import TransactionSettings
from tallystick.clock import Clock, SystemClock
from tallystick.wire import schema
from tallystick.wire.frames import read_request, read_request_header, read_response, write_request, write_response

CLOCK = SystemClock()
TWO_PARTITIONS = NodeSettings(num_partitions=2)


@contextmanager
def opened(
    data: Path,
    *,
    fsync: FsyncPolicy = FsyncPolicy.NEVER,
    clock: Clock = CLOCK,
    log_settings: LogSettings = DEFAULTS,
    transaction_settings: TransactionSettings = TRANSACTION_DEFAULTS,
    port: int = 1,
    security: SecuritySettings | None = None,
    settings: NodeSettings = TWO_PARTITIONS,
    static_configs: Mapping[str, str] | None = None,
) -> Iterator[Node]:
    """A recovered node, closed in the end."""
    node, _ = open_node(
        data,
        fsync=fsync,
        settings=settings,
        static_configs=static_configs or {},
        clock=clock,
        host="127.0.0.1",
        port=port,
        log_settings=log_settings,
        transaction_settings=transaction_settings,
        security_settings=security,
    )
    try:
        yield node
    finally:
        node.close()


def ask(node: Node, name: str, version: int, **fields: Any) -> Any:
    """Send a request through encoding, handler and decoding, as the server would; the decoded response."""
    build = schema.request(name, version)
    class_name = "".join(part.capitalize() for part in name.split("_")) + "Request"
    return ask_with(node, getattr(build, class_name)(**fields))


def ask_with(node: Node, message: Any) -> Any:
    """The same with a request that is built already."""
    key, version = message.__api_key__, message.__version__
    frame = write_request(7, "tester", message)[4:]
    header = read_request_header(frame)
    (api,) = (api for api in node.apis if api.key == key)
    context = RequestContext(
        node=node, api_version=version, client_id="tester", client_host="127.0.0.1", connection_id=1
    )
    response = asyncio.run(_await(api.handle(context, read_request(frame, header))))
    if response is None:
        return None
    correlation_id, decoded = read_response(write_response(7, response)[4:], key, version)
    assert correlation_id == 7
    return decoded


async def _await(coroutine: Any) -> Any:
    return await coroutine


class RawClient:
    """Frames over a socket, for what no client library would send."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=10)

    def send(self, raw: bytes) -> None:
        self._socket.sendall(raw)

    def receive(self) -> bytes | None:
        """One frame without its length; None if the peer closed the connection."""
        prefix = self._exactly(4)
        return None if prefix is None else self._exactly(int.from_bytes(prefix, "big"))

    def _exactly(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            try:
                part = self._socket.recv(size - len(data))
            except ConnectionResetError:
                return None
            if not part:
                return None
            data += part
        return data

    def close(self) -> None:
        self._socket.close()


class InProcess:
    """Speaks to a node as a connection would."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def now_ms(self) -> int:
        return self.node.clock.now_ms()

    def ask(self, api: str, version: int, /, **fields: Any) -> Any:
        return ask_with(self.node, request(api, version, **fields))
