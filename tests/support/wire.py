"""Requests frame by frame, for what no client library would send, against any broker."""

from __future__ import annotations

import socket
import time
from typing import Any, Self

from tallystick.wire import schema
from tallystick.wire.frames import LENGTH_BYTES, read_response, write_request

_TIMEOUT_S = 40.0


class WireClient:
    """One connection; ``ask`` sends a request of one API and version and returns kio's response."""

    def __init__(self, bootstrap: str, *, client_id: str = "wire") -> None:
        host, port = bootstrap.rsplit(":", 1)
        self._client_id = client_id
        self._socket = socket.create_connection((host, int(port)), timeout=_TIMEOUT_S)
        self._correlation_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def set_timeout(self, timeout_s: float) -> None:
        """How long to wait for an answer from now on: ``TimeoutError``."""
        self._socket.settimeout(timeout_s)

    def now_ms(self) -> int:
        """The time of a broker on this machine."""
        return int(time.time() * 1000)

    def ask(self, api: str, version: int, /, **fields: Any) -> Any:
        """Fields that the version does not have are left out."""
        return self.ask_with(request(api, version, **fields))

    def ask_with(self, message: Any) -> Any:
        self._correlation_id += 1
        self._socket.sendall(write_request(self._correlation_id, self._client_id, message))
        length = int.from_bytes(self._exactly(LENGTH_BYTES), "big")
        correlation_id, response = read_response(self._exactly(length), message.__api_key__, message.__version__)
        assert correlation_id == self._correlation_id
        return response

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            assert part, "the broker closed the connection"
            data += part
        return data


def request(api: str, version: int, /, **fields: Any) -> Any:
    """kio's request of that API and version."""
    class_name = "".join(part.capitalize() for part in api.split("_")) + "Request"
    return getattr(schema.request(api, version), class_name)(**fields)


def nested(api: str, version: int, class_name: str, /, **fields: Any) -> Any:
    """A part of that request."""
    return getattr(schema.request(api, version), class_name)(**fields)
