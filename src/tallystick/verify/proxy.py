"""A TCP proxy between Kafka clients and a broker that delays, holds and cuts.

Owns: listeners, connections and the faults that are switched on. It runs an asyncio loop in a thread of its own, so
that a test drives it with plain calls. Answers that carry broker addresses are rewritten, so that clients stay behind
the proxy; nothing needs to be configured on the broker. Must not know: what a transaction is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Self, TypeVar

import structlog

from tallystick.errors import CorruptData, TallystickError
from tallystick.verify.addresses import ADDRESS_BEARING, rewrite
from tallystick.verify.frames import RequestFrame, correlation_of, parse_request, read_frame, with_length

log = structlog.get_logger(__name__)

T = TypeVar("T")
Matching = Callable[[RequestFrame], bool]

LISTENERS_MAX: Final = 16
IN_FLIGHT_MAX: Final = 10_000
_CALL_TIMEOUT_S: Final = 10.0
_ANSWER_TIMEOUT_S: Final = 10.0


class ProxyError(TallystickError):
    """The proxy could not do what it was told: the test that relies on it has no result."""


@dataclass(slots=True)
class Hold:
    """The next ``remaining`` requests of one API key stop in the proxy until ``release``.

    A held request stops its whole connection, as a slow network would. It stays held when the client's side of the
    connection is cut, and reaches the broker on release all the same: the late request of rule 15.
    """

    proxy: Proxy
    api_key: int
    matching: Matching
    remaining: int
    held: list[RequestFrame] = field(default_factory=list)
    responses: list[bytes] = field(default_factory=list)
    _caught: threading.Event = field(default_factory=threading.Event)
    _answered: threading.Event = field(default_factory=threading.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def wait_caught(self, timeout_s: float) -> RequestFrame:
        """The first request that was held. Raises ``ProxyError`` if none came."""
        if not self._caught.wait(timeout_s):
            raise ProxyError(f"no request of API key {self.api_key} came within {timeout_s} s")
        return self.held[0]

    @property
    def caught(self) -> bool:
        return self._caught.is_set()

    def release(self) -> None:
        """Let the held requests go to the broker, and hold no further one."""
        self.proxy.call(self._release())

    def wait_answered(self, timeout_s: float) -> bytes:
        """The broker's response to the first held request, also if its client is gone. Raises ``ProxyError``."""
        if not self._answered.wait(timeout_s):
            raise ProxyError(f"the broker did not answer the released request within {timeout_s} s")
        return self.responses[0]

    async def _release(self) -> None:
        self.remaining = 0
        self._released.set()

    def takes(self, frame: RequestFrame) -> bool:
        """Whether this request is to be held; if so, it counts."""
        if self.remaining < 1 or frame.api_key != self.api_key or not self.matching(frame):
            return False
        self.remaining -= 1
        self.held.append(frame)
        self._caught.set()
        return True

    async def wait_released(self) -> None:
        await self._released.wait()

    def answer(self, response: bytes) -> None:
        self.responses.append(response)
        self._answered.set()


@dataclass(frozen=True, slots=True)
class _InFlight:
    api_key: int
    api_version: int
    hold: Hold | None
    answered: asyncio.Event


class Proxy:
    """``with Proxy("127.0.0.1:9092") as proxy:`` and clients bootstrap from ``proxy.bootstrap``."""

    def __init__(self, upstream: str, *, host: str = "127.0.0.1", port: int = 0) -> None:
        upstream_host, _, upstream_port = upstream.rpartition(":")
        self._upstream = (upstream_host, int(upstream_port))
        self._host = host
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tallystick-proxy", daemon=True)
        self._listeners: dict[tuple[str, int], socket.socket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[_Connection] = set()
        self._holds: list[Hold] = []
        self._delays_ms: dict[int, int] = {}
        self._requests: Counter[int] = Counter()

    @property
    def bootstrap(self) -> str:
        host, port = self._listeners[self._upstream].getsockname()[:2]
        return f"{host}:{port}"

    def start(self) -> Self:
        self._thread.start()
        self.call(self._start())
        return self

    def stop(self) -> None:
        """Cut everything and end the thread. What is still held never reaches the broker."""
        if not self._thread.is_alive():
            return
        self.call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_TIMEOUT_S)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def hold(self, api_key: int, *, count: int = 1, matching: Matching = lambda _: True) -> Hold:
        """Hold the next ``count`` requests of ``api_key`` that match."""
        hold = Hold(proxy=self, api_key=api_key, matching=matching, remaining=count)

        async def add() -> None:
            self._holds.append(hold)

        self.call(add())
        return hold

    def delay(self, api_key: int, *, delay_ms: int) -> None:
        """Every request of ``api_key`` waits ``delay_ms`` from now on; 0 ends it."""

        async def put() -> None:
            self._delays_ms[api_key] = delay_ms

        self.call(put())

    def cut(self) -> int:
        """Reset every client connection; returns how many there were. New ones are accepted at once."""

        async def cut() -> int:
            return sum(connection.cut() for connection in tuple(self._connections))

        return self.call(cut())

    def requests(self, api_key: int) -> int:
        """How many requests of ``api_key`` clients have sent, the held ones included."""

        async def count() -> int:
            return self._requests[api_key]

        return self.call(count())

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run in the proxy's own thread, which owns all state."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(_CALL_TIMEOUT_S)

    # What follows runs in the proxy's thread only.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _start(self) -> None:
        self._listen(self._upstream, port=self._port)

    async def _stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listener in self._listeners.values():
            listener.close()

    def _listen(self, upstream: tuple[str, int], *, port: int = 0) -> None:
        if len(self._listeners) >= LISTENERS_MAX:
            raise ProxyError(f"more than {LISTENERS_MAX} broker addresses")
        listener = socket.create_server((self._host, port))
        listener.setblocking(False)
        self._listeners[upstream] = listener
        self._spawn(self._accept(listener, upstream))

    async def _accept(self, listener: socket.socket, upstream: tuple[str, int]) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            task = self._spawn(self._serve(client, upstream))
            # Cancelled before its first step, a task closes nothing. Closing twice does no harm.
            task.add_done_callback(partial(_close, client))

    async def _serve(self, client: socket.socket, upstream: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(sock=client)
        connection = _Connection(self, writer)
        self._connections.add(connection)
        try:
            await connection.run(reader, upstream)
        except (OSError, asyncio.IncompleteReadError):
            pass  # one side went away, which is what a proxy is told by
        except CorruptData:
            log.exception("proxy.connection-ended", upstream=upstream)
        finally:
            self._connections.discard(connection)
            connection.cut()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def translate(self, host: str, port: int) -> tuple[str, int]:
        """The proxy's own address for a broker; a listener is made for each new one."""
        if (host, port) not in self._listeners:
            self._listen((host, port))
        name = self._listeners[host, port].getsockname()
        return str(name[0]), int(name[1])

    def count_request(self, frame: RequestFrame) -> Hold | None:
        """Note a request; returns the hold that stops it."""
        self._requests[frame.api_key] += 1
        for hold in self._holds:
            if hold.takes(frame):
                return hold
        return None

    def delay_ms(self, api_key: int) -> int:
        return self._delays_ms.get(api_key, 0)


def _close(client: socket.socket, _task: asyncio.Task[None]) -> None:
    client.close()


class _Connection:
    """One client connection and its connection to the broker."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._in_flight: dict[int, _InFlight] = {}
        self._late: list[_InFlight] = []

    def cut(self) -> bool:
        """Reset the client's side; the broker's side stays until what is held was answered."""
        alive = not self._client.transport.is_closing()
        self._client.transport.abort()
        return alive

    async def run(self, reader: asyncio.StreamReader, upstream: tuple[str, int]) -> None:
        broker_reader, broker = await asyncio.open_connection(*upstream)
        answers = asyncio.create_task(self._answers(broker_reader))
        try:
            await self._requests(reader, broker)
        finally:
            try:
                if self._late:
                    await asyncio.wait_for(self._all_answered(), _ANSWER_TIMEOUT_S)
            finally:  # the clean-up itself may be cancelled, so what cannot wait comes first
                broker.transport.abort()
                answers.cancel()
                await asyncio.gather(answers, return_exceptions=True)

    async def _all_answered(self) -> None:
        for request in self._late:
            await request.answered.wait()

    async def _requests(self, reader: asyncio.StreamReader, broker: asyncio.StreamWriter) -> None:
        while True:
            frame = parse_request(await read_frame(reader))
            hold = self._proxy.count_request(frame)
            if len(self._in_flight) >= IN_FLIGHT_MAX:
                raise CorruptData(f"more than {IN_FLIGHT_MAX} unanswered requests", place="proxy connection")
            waiting = _InFlight(frame.api_key, frame.api_version, hold, asyncio.Event())
            # Acknowledgement 0 has no response; the next request with this correlation id takes its entry over.
            self._in_flight[frame.correlation_id] = waiting
            if hold is not None:
                await hold.wait_released()
                self._late.append(waiting)
            if delay_ms := self._proxy.delay_ms(frame.api_key):
                await asyncio.sleep(delay_ms / 1000)
            broker.write(with_length(frame.raw))
            await broker.drain()

    async def _answers(self, broker: asyncio.StreamReader) -> None:
        try:
            while True:
                await self._answer(await read_frame(broker))
        except (OSError, asyncio.IncompleteReadError):
            pass  # the broker closed; the client is told below
        except (CorruptData, ModuleNotFoundError, ProxyError):
            log.exception("proxy.answer-refused")
        finally:
            self.cut()

    async def _answer(self, response: bytes) -> None:
        request = self._in_flight.pop(correlation_of(response), None)
        if request is None:
            raise CorruptData("a response to no request", place="proxy connection")
        if request.hold is not None:
            request.hold.answer(response)
        request.answered.set()
        if request.api_key in ADDRESS_BEARING:
            response = rewrite(request.api_key, request.api_version, response, self._proxy.translate)
        if not self._client.transport.is_closing():
            self._client.write(with_length(response))
            with contextlib.suppress(OSError):  # cut meanwhile; an answer to a held request may still be due
                await self._client.drain()
