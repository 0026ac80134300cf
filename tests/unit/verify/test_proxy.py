"""The proxy against a small server that answers every frame and remembers what it got."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tallystick.errors import CorruptData
from tallystick.verify.frames import END_TXN, PRODUCE, RequestFrame, correlation_of, parse_request
from tallystick.verify.proxy import Proxy, ProxyError


def request(api_key: int, correlation_id: int, *, client_id: str = "c", body: bytes = b"") -> bytes:
    name = client_id.encode()
    return struct.pack(">hhih", api_key, 1, correlation_id, len(name)) + name + body


class Peer:
    """One end of a connection that speaks frames."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.settimeout(10)

    def send(self, raw: bytes) -> None:
        self.connection.sendall(struct.pack(">i", len(raw)) + raw)

    def receive(self) -> bytes | None:
        """The next frame, None at the end or a reset."""
        head = self._exactly(4)
        return None if head is None else self._exactly(struct.unpack(">i", head)[0])

    def _exactly(self, size: int) -> bytes | None:
        got = b""
        while len(got) < size:
            try:
                piece = self.connection.recv(size - len(got))
            except ConnectionResetError:
                return None
            if not piece:
                return None
            got += piece
        return got


class FrameServer:
    """Stands where the broker stands: answers each request with its correlation id and its own bytes."""

    def __init__(self) -> None:
        self.received: list[RequestFrame] = []
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self._peers: list[socket.socket] = []
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.getsockname()[1]}"

    def close(self) -> None:
        self._closed = True
        self._server.close()
        for peer in self._peers:
            peer.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            self._peers.append(connection)
            if self._closed:  # accepted while ``close`` went through the list
                connection.close()
                return
            threading.Thread(target=self._answer, args=(Peer(connection),), daemon=True).start()

    def _answer(self, peer: Peer) -> None:
        try:
            while (raw := peer.receive()) is not None:
                frame = parse_request(raw)
                self.received.append(frame)
                peer.send(struct.pack(">i", frame.correlation_id) + raw)
        except OSError:
            return


@pytest.fixture
def server() -> Iterator[FrameServer]:
    running = FrameServer()
    yield running
    running.close()


@pytest.fixture
def proxy(server: FrameServer) -> Iterator[Proxy]:
    with Proxy(server.address) as running:
        yield running


@pytest.fixture
def connect(proxy: Proxy) -> Iterator[Callable[[], Peer]]:
    made: list[Peer] = []

    def connect() -> Peer:
        host, _, port = proxy.bootstrap.rpartition(":")
        made.append(Peer(socket.create_connection((host, int(port)), timeout=10)))
        return made[-1]

    yield connect
    for peer in made:
        peer.connection.close()


def test_requests_and_answers_pass_unchanged(server: FrameServer, proxy: Proxy, connect: Callable[[], Peer]) -> None:
    client = connect()
    raw = request(PRODUCE, 5, body=b"x" * 100_000)
    client.send(raw)
    assert client.receive() == struct.pack(">i", 5) + raw
    assert [frame.raw for frame in server.received] == [raw]
    assert proxy.requests(PRODUCE) == 1


def test_a_held_request_reaches_the_broker_only_on_release(
    server: FrameServer, proxy: Proxy, connect: Callable[[], Peer]
) -> None:
    hold = proxy.hold(END_TXN)
    client = connect()
    client.send(request(PRODUCE, 1))
    assert client.receive() is not None
    client.send(request(END_TXN, 2))
    assert hold.wait_caught(10).correlation_id == 2
    assert [frame.api_key for frame in server.received] == [PRODUCE]
    hold.release()
    answer = client.receive()
    assert answer is not None
    assert correlation_of(answer) == 2
    assert [frame.api_key for frame in server.received] == [PRODUCE, END_TXN]


def test_a_held_request_outlives_the_cut_of_its_client(
    server: FrameServer, proxy: Proxy, connect: Callable[[], Peer]
) -> None:
    hold = proxy.hold(END_TXN)
    client = connect()
    client.send(request(END_TXN, 2))
    hold.wait_caught(10)
    assert proxy.cut() == 1
    assert client.receive() is None
    second = connect()
    second.send(request(END_TXN, 3))  # the client's retry: the hold is used up, so it passes
    assert second.receive() is not None
    assert [frame.correlation_id for frame in server.received] == [3]
    hold.release()
    assert correlation_of(hold.wait_answered(10)) == 2
    assert [frame.correlation_id for frame in server.received] == [3, 2]


def test_what_is_still_held_at_the_end_never_reaches_the_broker(
    server: FrameServer, proxy: Proxy, connect: Callable[[], Peer]
) -> None:
    hold = proxy.hold(END_TXN)
    client = connect()
    client.send(request(END_TXN, 2))
    hold.wait_caught(10)
    proxy.stop()
    assert client.receive() is None
    assert server.received == []


def test_only_matching_requests_are_held(proxy: Proxy, connect: Callable[[], Peer]) -> None:
    hold = proxy.hold(END_TXN, matching=lambda frame: frame.client_id == "slow")
    client = connect()
    client.send(request(END_TXN, 1, client_id="quick"))
    assert client.receive() is not None
    assert not hold.caught
    connect().send(request(END_TXN, 2, client_id="slow"))
    assert hold.wait_caught(10).client_id == "slow"


def test_a_hold_that_catches_nothing_says_so(proxy: Proxy) -> None:
    hold = proxy.hold(END_TXN)
    with pytest.raises(ProxyError, match="API key 26"):
        hold.wait_caught(0.01)
    with pytest.raises(ProxyError, match="did not answer"):
        hold.wait_answered(0.01)


def test_cut_resets_clients_and_new_connections_work_at_once(proxy: Proxy, connect: Callable[[], Peer]) -> None:
    first, second = connect(), connect()
    for peer in (first, second):
        peer.send(request(PRODUCE, 1))
        assert peer.receive() is not None
    assert proxy.cut() == 2
    assert first.receive() is None
    assert second.receive() is None
    third = connect()
    third.send(request(PRODUCE, 2))
    assert third.receive() is not None


def test_a_delayed_request_takes_its_time(proxy: Proxy, connect: Callable[[], Peer]) -> None:
    proxy.delay(END_TXN, delay_ms=200)
    client = connect()
    started = time.monotonic()
    client.send(request(END_TXN, 1))
    assert client.receive() is not None
    assert time.monotonic() - started >= 0.2


def test_the_client_is_told_when_the_broker_dies(
    server: FrameServer, proxy: Proxy, connect: Callable[[], Peer]
) -> None:
    client = connect()
    client.send(request(PRODUCE, 1))
    assert client.receive() is not None
    server.close()
    for peer in server._peers:
        peer.close()
    client.send(request(PRODUCE, 2))
    assert client.receive() is None


def test_each_broker_address_has_one_listener(proxy: Proxy, server: FrameServer) -> None:
    host, _, port = server.address.rpartition(":")
    assert "{}:{}".format(*proxy.call(_translate(proxy, host, int(port)))) == proxy.bootstrap
    other = proxy.call(_translate(proxy, "other", 1))
    assert other == proxy.call(_translate(proxy, "other", 1))
    assert "{}:{}".format(*other) != proxy.bootstrap


async def _translate(proxy: Proxy, host: str, port: int) -> tuple[str, int]:
    return proxy.translate(host, port)


def test_bytes_that_are_no_request_are_refused() -> None:
    with pytest.raises(CorruptData):
        parse_request(b"\x00")
    with pytest.raises(CorruptData):
        correlation_of(b"")
