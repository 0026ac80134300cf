"""A proxy to PostgreSQL that cuts the connection at the first COMMIT after an inbox insert."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

from sqlalchemy import make_url


class CommitCutter:
    """``with CommitCutter(url, reaches_the_server=...) as proxy``: connect through ``proxy.url``.

    The COMMIT arrives at the server or does not; its answer never comes back. ``cuts`` holds what was cut: once.
    """

    def __init__(self, url: str, *, reaches_the_server: bool) -> None:
        parsed = make_url(url)
        self._target_host = str(parsed.query.get("host") or parsed.host)
        self._target_port = parsed.port or 5432
        self._reaches_the_server = reaches_the_server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self.cuts: list[bytes] = []
        query = {key: value for key, value in parsed.query.items() if key not in ("host", "sslmode")}
        self.url = parsed.set(
            host="127.0.0.1", port=self._listener.getsockname()[1], query={**query, "sslmode": "disable"}
        ).render_as_string(hide_password=False)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            thread.start()
            self._threads.append(thread)

    def _serve(self, client: socket.socket) -> None:
        with client, self._connect() as server:
            back = threading.Thread(target=_copy, args=(server, client))
            back.start()
            inserted = False
            while data := _receive(client):
                inserted = inserted or b"INSERT INTO tallystick_inbox" in data
                if inserted and not self.cuts and b"COMMIT" in data:
                    self._cut(client, server, data)
                    break
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
            back.join()

    def _cut(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        self.cuts.append(data)
        client.shutdown(socket.SHUT_RDWR)
        if self._reaches_the_server:
            server.sendall(data)

    def _connect(self) -> socket.socket:
        if self._target_host.startswith("/"):
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(f"{self._target_host}/.s.PGSQL.{self._target_port}")
            return upstream
        return socket.create_connection((self._target_host, self._target_port))


def _copy(source: socket.socket, sink: socket.socket) -> None:
    while data := _receive(source):
        try:
            sink.sendall(data)
        except OSError:
            continue


def _receive(source: socket.socket) -> bytes:
    try:
        return source.recv(65_536)
    except OSError:
        return b""
