"""The server: connections, one request after another on each, answers in order.

Owns: sockets, the order of answers, the wait for the disk, the bounds on connections and frames. Must not know: what
any API does.

All state belongs to the one loop; a handler runs to its next ``await`` undisturbed. A request that does not decode
costs its connection and nothing else. As in Apache Kafka, one connection has one request at work at a time; but an
answer that only waits for the disk lets the next request begin.
"""

from __future__ import annotations

import asyncio
from collections import deque

import structlog

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.handlers import api_versions
from tallystick.broker.interceptor import ConnectionCut, ConnectionSilent, Interceptor
from tallystick.broker.limits import MAX_CONNECTIONS, MAX_FRAME_BYTES, MAX_UNSENT_RESPONSES, TICK_MS
from tallystick.broker.log.durability import Durability
from tallystick.broker.node import Node
from tallystick.wire.errors import ErrorCode
from tallystick.wire.frames import (
    LENGTH_BYTES,
    MalformedFrame,
    RequestHeader,
    frame_length,
    read_request,
    read_request_header,
    write_response,
)

logger = structlog.get_logger(__name__)

_DISCARDED_AT_ONCE_BYTES = 65_536


class Server:
    """Serves one node. ``run`` ends only by cancellation or by an error that leaves no promise standing."""

    def __init__(
        self,
        node: Node,
        *,
        max_connections: int = MAX_CONNECTIONS,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        interceptor: Interceptor | None = None,
    ) -> None:
        self._node = node
        self._apis = {api.key: api for api in node.apis}
        self._max_connections = max_connections
        self._max_frame_bytes = max_frame_bytes
        self._interceptor = interceptor
        self._connections: set[asyncio.Task[None]] = set()
        self._connection_count = 0
        self._listener: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> int:
        """Open the listener and return its port."""
        self._listener = await asyncio.start_server(self._accept, host, port, backlog=512)
        actual: int = self._listener.sockets[0].getsockname()[1]
        self._node.port = actual
        return actual

    async def run(self) -> None:
        """Tick and sync for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick())
            tasks.create_task(self._node.durability.run())

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._listener is not None:
            self._listener.close()
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_MS / 1000)
            self._node.tick()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._max_connections:
            logger.warning("a connection is refused: too many", connections=len(self._connections))
            writer.close()
            return
        self._connection_count += 1
        connection = _Connection(
            self._node,
            self._apis,
            reader,
            writer,
            self._connection_count,
            self._max_frame_bytes,
            self._interceptor,
        )
        task = asyncio.create_task(connection.serve())
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)


class _Connection:
    def __init__(
        self,
        node: Node,
        apis: dict[int, Api],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection_id: int,
        max_frame_bytes: int,
        interceptor: Interceptor | None,
    ) -> None:
        self._node = node
        self._apis = apis
        self._interceptor = interceptor
        self._reader = reader
        self._writer = writer
        self._id = connection_id
        self._max_frame_bytes = max_frame_bytes
        peer = writer.get_extra_info("peername")
        self._client_host = str(peer[0]) if peer else ""
        self._answers = _Answers(writer, node.durability)

    async def serve(self) -> None:
        """Until the peer goes, misbehaves or the server ends."""
        log = logger.bind(connection=self._id, client_host=self._client_host)
        try:
            while True:
                prefix = await self._reader.readexactly(LENGTH_BYTES)
                length = frame_length(prefix, max_bytes=self._max_frame_bytes)
                frame = await self._reader.readexactly(length)
                try:
                    if not await self._answer(frame):
                        break
                except ConnectionSilent:
                    await self._read_in_vain()
                    break
        except ConnectionCut:
            self._writer.transport.abort()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except MalformedFrame as error:
            log.warning("a malformed request ends its connection", reason=str(error))
        except Exception:
            # The edge of this connection's loop: a bug in a handler ends the connection, and is told in full.
            log.exception("a request failed in a way that has no error code; its connection ends")
        finally:
            self._answers.close()
            self._writer.close()

    async def _read_in_vain(self) -> None:
        while await self._reader.read(_DISCARDED_AT_ONCE_BYTES):
            pass

    async def _answer(self, frame: bytes) -> bool:
        """Handle one request; False if the connection must end."""
        header = read_request_header(frame)
        api = self._apis.get(header.api_key)
        if api is None or not api.min_version <= header.api_version <= api.max_version:
            return await self._unsupported(header)
        context = RequestContext(
            node=self._node,
            api_version=header.api_version,
            client_id=header.client_id,
            client_host=self._client_host,
            connection_id=self._id,
        )
        request = read_request(frame, header)
        if self._interceptor is None:
            response = await api.handle(context, request)
        else:
            response = await self._interceptor.handle(api, context, request)
        if response is None:
            return True
        await self._answers.send(
            write_response(header.correlation_id, response),
            after_write=0 if api.reads_only else self._node.durability.written,
        )
        return True

    async def _unsupported(self, header: RequestHeader) -> bool:
        """KIP-511: ApiVersions of a version we do not know is answered in version 0; nothing else can be."""
        if header.api_key != api_versions.API.key:
            logger.warning(
                "a request of an unsupported API or version ends its connection",
                api_key=header.api_key,
                api_version=header.api_version,
                client_id=header.client_id,
            )
            return False
        response = api_versions.answer((api_versions.API,), 0, error=ErrorCode.unsupported_version)
        await self._answers.send(write_response(header.correlation_id, response), after_write=0)
        return True


class _Answers:
    """Answers of one connection, in order, each after the disk has what it promises (policy ``commit`` only)."""

    def __init__(self, writer: asyncio.StreamWriter, durability: Durability) -> None:
        self._writer = writer
        self._durability = durability
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._room = asyncio.Event()

    async def send(self, frame: bytes, *, after_write: int) -> None:
        durability = self._durability
        if not self._waiting and (not durability.acknowledges_after_sync or durability.synced >= after_write):
            self._writer.write(frame)
            await self._writer.drain()
            return
        while len(self._waiting) >= MAX_UNSENT_RESPONSES:
            self._room.clear()
            await self._room.wait()
        self._waiting.append((frame, after_write))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send_waiting())

    async def _send_waiting(self) -> None:
        try:
            while self._waiting:
                frame, after_write = self._waiting[0]
                await self._durability.wait(after_write)
                self._writer.write(frame)
                await self._writer.drain()
                self._waiting.popleft()
                self._room.set()
        except ConnectionError:
            self._writer.close()
        finally:
            self._room.set()

    def close(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
