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
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self, TypeVar

import structlog

from tallystick.errors import CorruptData
from tallystick.verify.addresses import ADDRESS_BEARING, rewrite
from tallystick.verify.frames import RequestFrame, correlation_of, parse_request, read_frame, with_length
from tallystick.verify.hold import Hold, Matching, ProxyError

log = structlog.get_logger(__name__)

T = TypeVar("T")

__all__ = ["Hold", "Proxy", "ProxyError"]

LISTENERS_MAX: Final = 16
IN_FLIGHT_MAX: Final = 10_000
_CALL_TIMEOUT_S: Final = 10.0
_ANSWER_TIMEOUT_S: Final = 10.0


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
        self._delay_all_ms = 0
        self._losing: Counter[int] = Counter()
        self._lost = 0
        self._blocked = False
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
        hold = Hold(call=self.call, api_key=api_key, matching=matching, remaining=count)

        async def add() -> None:
            self._holds.append(hold)

        self.call(add())
        return hold

    def delay(self, api_key: int, *, delay_ms: int) -> None:
        """Every request of ``api_key`` waits ``delay_ms`` from now on; 0 ends it."""

        async def put() -> None:
            self._delays_ms[api_key] = delay_ms

        self.call(put())

    def delay_all(self, delay_ms: int) -> None:
        """Every request waits ``delay_ms`` from now on, whatever its API; 0 ends it."""

        async def put() -> None:
            self._delay_all_ms = delay_ms

        self.call(put())

    def lose_answer(self, api_key: int, *, count: int = 1) -> None:
        """Let the broker do the next ``count`` requests of ``api_key``, and reset the connection instead of the answer.

        0 takes back what has not struck yet.
        """

        async def put() -> None:
            self._losing[api_key] = count

        self.call(put())

    @property
    def answers_lost(self) -> int:
        """How many answers were lost in all."""
        return self._lost

    def block(self) -> None:
        """Reset every connection, and each new one at once, until ``unblock``: nobody reaches the broker."""

        async def put() -> None:
            self._blocked = True
            for connection in tuple(self._connections):
                connection.cut()

        self.call(put())

    def unblock(self) -> None:
        """Connections live again."""

        async def put() -> None:
            self._blocked = False

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
            if self._blocked:
                client.close()
                continue
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
        return max(self._delays_ms.get(api_key, 0), self._delay_all_ms)

    def loses(self, api_key: int) -> bool:
        """Whether this answer is to be lost; if so, it counts."""
        if self._losing[api_key] < 1:
            return False
        self._losing[api_key] -= 1
        self._lost += 1
        return True


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
        if self._proxy.loses(request.api_key):
            self.cut()
            return
        if request.api_key in ADDRESS_BEARING:
            response = rewrite(request.api_key, request.api_version, response, self._proxy.translate)
        if not self._client.transport.is_closing():
            self._client.write(with_length(response))
            with contextlib.suppress(OSError):  # cut meanwhile; an answer to a held request may still be due
                await self._client.drain()
