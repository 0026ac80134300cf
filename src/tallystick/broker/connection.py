"""One connection: its TLS, its authentication, one request after another, and when it ends.

Owns: the loop over requests, who the client is. Must not know: what any API does, other connections, how a request is
read (``request_reader``).

As in Apache Kafka, one connection has one request at work at a time; but an answer that only waits for the disk lets
the next request begin. What does not decode, takes too long or is too large costs this connection and nothing else.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import structlog

from tallystick.broker.answers import Answers
from tallystick.broker.api import Api, RequestContext
from tallystick.broker.byte_budget import ByteBudget
from tallystick.broker.byte_stream import ByteStream
from tallystick.broker.frame_buffers import FrameBuffers
from tallystick.broker.handlers import api_versions
from tallystick.broker.interceptor import ConnectionCut, ConnectionSilent, Interceptor
from tallystick.broker.limits import (
    AUTHENTICATION_TIMEOUT_S,
    CLOSE_TIMEOUT_S,
    PRESSED_TIMEOUT_S,
)
from tallystick.broker.metrics.meter import Meter
from tallystick.broker.node import Node
from tallystick.broker.request_reader import RequestReader
from tallystick.broker.security.authentication import Authentication
from tallystick.broker.security.certificate import MalformedCertificate, principal_of
from tallystick.broker.security.listeners import Listener
from tallystick.broker.security.principal import ANONYMOUS, Principal
from tallystick.broker.security.settings import ConnectionSettings
from tallystick.wire.errors import ErrorCode
from tallystick.wire.frames import (
    LENGTH_BYTES,
    Frame,
    RequestHeader,
    frame_length,
    is_known,
    read_request,
    read_request_header,
    response_buffers,
)
from tallystick.wire.refusals import refusal
from tallystick.wire.repeated_requests import RepeatedRequests
from tallystick.wire.shapes import MalformedFrame

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """What all connections of a server share."""

    node: Node
    apis: Mapping[int, Api]
    bounds: ConnectionSettings
    budget: ByteBudget
    buffers: FrameBuffers
    interceptor: Interceptor | None
    meter: Meter | None


class Connection:
    """``serve`` runs until the peer goes, misbehaves, or the server ends."""

    def __init__(
        self,
        premises: Premises,
        listener: Listener,
        *,
        connection_id: int,
        client_host: str,
        advertised: tuple[str, int],
    ) -> None:
        self._premises = premises
        self._node = premises.node
        self._apis = premises.apis
        self._interceptor = premises.interceptor
        self._listener = listener
        self._id = connection_id
        self._client_host = client_host
        self._advertised = advertised
        self._authentication: Authentication | None = premises.node.security.authentication(listener)
        self._principal: Principal = ANONYMOUS
        self._loop = asyncio.get_running_loop()
        self._log = logger.bind(connection=connection_id, client_host=client_host, listener=listener.name)
        self._ends_unless_authenticated = (
            math.inf if self._authentication is None else self._loop.time() + AUTHENTICATION_TIMEOUT_S
        )
        self._at_work: Api | None = None
        self._requests = RepeatedRequests()
        self._is_finishing = False
        self._finished = asyncio.Event()
        self._transport: asyncio.WriteTransport | None = None
        self._stream: ByteStream
        self._reader: RequestReader
        self._answers: Answers

    @property
    def has_begun(self) -> bool:
        """Whether the accepted socket belongs to a transport, which closes it."""
        return self._transport is not None

    async def serve(self, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        """From the accepted socket to its end."""
        try:
            await self._open(accepted, tls)
        except (OSError, MalformedCertificate) as error:  # ssl.SSLError and TimeoutError are OSErrors
            self._log.info("a connection did not come about", reason=str(error) or error.__class__.__name__)
            if self._transport is None:
                accepted.close()
            else:
                self._transport.abort()
            return
        close_timeout_s = CLOSE_TIMEOUT_S
        try:
            await self._serve()
        except asyncio.CancelledError:
            close_timeout_s = 1
            raise
        finally:
            await self._close(close_timeout_s)

    async def _open(self, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        self._stream = ByteStream(over_tls=tls is not None)
        timeouts = {} if tls is None else {"ssl_handshake_timeout": AUTHENTICATION_TIMEOUT_S}
        transport, _ = await self._loop.connect_accepted_socket(lambda: self._stream, accepted, ssl=tls, **timeouts)
        self._transport = transport
        premises = self._premises
        self._answers = Answers(self._stream, self._node.durability, premises.budget)
        self._reader = RequestReader(
            self._stream, premises.budget, premises.buffers, idle_s=premises.bounds.connections_max_idle_ms / 1000
        )
        if tls is not None and self._authentication is None:
            self._principal = principal_of(transport.get_extra_info("ssl_object").getpeercert(binary_form=True))

    async def _serve(self) -> None:
        log = self._log
        try:
            while await self._one_request():
                if self._is_finishing:
                    await self._answers.flush()
                    break
        except ConnectionSilent:
            await self._stream.discard()
        except ConnectionCut:
            self._stream.abort()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        except MalformedFrame as error:
            log.warning("a malformed request ends its connection", reason=str(error))
        except Exception as error:
            if error is self._stream.error:  # the network's, such as a host that cannot be reached any more
                return
            # The edge of this connection's loop: a bug in a handler ends the connection, and is told in full.
            log.exception("a request failed in a way that has no error code; its connection ends")

    async def _close(self, timeout_s: float) -> None:
        """Let the client have what was answered already, and then be done with it, whether it takes it or not."""
        self._finished.set()
        self._ends_unless_authenticated = math.inf
        self._answers.close()
        self._stream.close()
        try:
            async with asyncio.timeout(timeout_s):
                await self._stream.closed()
        except TimeoutError:
            self._stream.abort()

    async def finish(self) -> None:
        """Begin no further request. Returns when the one at work is answered, and what waited for the disk is out.

        One that only reads is not waited for: its client asks again.
        """
        self._is_finishing = True
        if self._at_work is not None and not self._at_work.reads_only:
            await self._finished.wait()
        elif self._transport is not None:
            await self._answers.flush()

    def abort(self) -> None:
        """Send nothing more, not even what was written already."""
        if self._transport is not None:
            self._transport.abort()

    def end_if_late(self, now: float, *, pressed: bool) -> None:
        """Abort the connection if its time is up; asked about once a second, with the loop's time.

        ``pressed``: others wait for the room that this connection may be holding.
        """
        if self._transport is None:  # its handshake has a time of its own
            return
        late = None
        if now > self._answers.deadline:
            late = "it does not take its answers"
        elif now > self._ends_unless_authenticated:
            late = "it does not authenticate"
        elif now > self._reader.deadline:
            late = f"its {self._reader.waits_for} does not come"
        elif pressed and now > self._reader.counted_since + PRESSED_TIMEOUT_S:
            late = "it holds memory that others wait for"
        if late is not None:
            self._log.warning("a connection is too slow and ends", reason=late)
            self._transport.abort()

    async def _one_request(self) -> bool:
        """Read, handle and answer one request; False if the connection is to end."""
        reader = self._reader
        try:
            prefix = await reader.prefix()
            authentication = self._authentication
            if authentication is not None and authentication.takes_raw_tokens:
                return await self._raw_token(authentication, prefix)
            frame = await reader.frame(frame_length(prefix, max_bytes=self._max_frame_bytes()))
            if self._is_finishing:
                return False
            if self._premises.budget.is_overdrawn:  # answers leave no room
                await self._premises.budget.take(0)
            reader.count_objects()
            return await self._answer(frame)
        finally:
            reader.done()

    def _max_frame_bytes(self) -> int:
        bounds = self._premises.bounds
        if self._authentication is not None and not self._authentication.is_authenticated:
            return bounds.sasl_server_max_receive_size
        return bounds.socket_request_max_bytes

    async def _answer(self, frame: Frame) -> bool:
        """Handle one request; False if the connection must end."""
        header = read_request_header(frame)
        authentication = self._authentication
        if authentication is not None and not authentication.admits(
            header.api_key, now_ms=self._node.clock.monotonic_ms()
        ):
            self._log.warning(
                "a request before authentication, or after it ran out, ends its connection", api_key=header.api_key
            )
            return False
        api = self._apis.get(header.api_key)
        if api is None or not api.min_version <= header.api_version <= api.max_version:
            return await self._unsupported(header, frame)
        context = RequestContext(
            node=self._node,
            api_version=header.api_version,
            client_id=header.client_id,
            client_host=self._client_host,
            connection_id=self._id,
            principal=self._principal,
            authentication=authentication,
            advertised=self._advertised,
        )
        request = self._requests.read(frame, header)
        self._at_work = api
        meter = self._premises.meter
        started = 0.0 if meter is None else perf_counter()
        try:
            if self._interceptor is None:
                response = await api.handle(context, request)
            else:
                response = await self._interceptor.handle(api, context, request)
            buffers = [] if response is None else response_buffers(header.correlation_id, response)
            if meter is not None:
                meter.answered(
                    api.name,
                    response,
                    took_s=perf_counter() - started,
                    request_bytes=len(frame),
                    response_bytes=sum(map(len, buffers)),
                )
            if response is not None:
                written = 0 if api.reads_only else self._node.durability.written
                await self._answers.send(buffers, after_write=written)
        finally:
            self._at_work = None
        return authentication is None or await self._goes_on(authentication)

    async def _goes_on(self, authentication: Authentication) -> bool:
        """Take over who the client is now; False if it failed to prove it, after a pause that slows guessing down."""
        self._principal = authentication.principal
        if authentication.is_authenticated:
            self._ends_unless_authenticated = math.inf
        elif authentication.has_failed:
            self._log.warning("authentication failed")
            await asyncio.sleep(self._premises.bounds.connection_failed_authentication_delay_ms / 1000)
            return False
        elif self._ends_unless_authenticated == math.inf:  # it authenticates again
            self._ends_unless_authenticated = self._loop.time() + AUTHENTICATION_TIMEOUT_S
        return True

    async def _raw_token(self, authentication: Authentication, prefix: bytes) -> bool:
        """A token without a request around it, after SaslHandshake version 0; so is the answer."""
        length = int.from_bytes(prefix, "big", signed=True)
        if not 0 <= length <= self._premises.bounds.sasl_server_max_receive_size:
            raise MalformedFrame(f"a SASL token of {length} bytes")
        reply = authentication.authenticate(await self._reader.read(length), now_ms=self._node.clock.monotonic_ms())
        if reply.error is ErrorCode.none:
            await self._answers.send([len(reply.token).to_bytes(LENGTH_BYTES, "big"), reply.token], after_write=0)
        return await self._goes_on(authentication)

    async def _unsupported(self, header: RequestHeader, frame: Frame) -> bool:
        """Refuse a request of an API or version that is not handled, in that version, if its schema is known.

        KIP-511: ApiVersions of a version that nobody knows is answered in version 0.
        """
        self._log.warning(
            "a request of an unsupported API or version",
            api_key=header.api_key,
            api_version=header.api_version,
            client_id=header.client_id,
        )
        if is_known(header.api_key, header.api_version):
            request = read_request(frame, header)
            if getattr(request, "acks", None) == 0:  # a producer that waits for no answer learns from the end
                return False
            response = refusal(request, ErrorCode.unsupported_version)
        elif header.api_key == api_versions.API.key:
            response = api_versions.answer((api_versions.API,), 0, error=ErrorCode.unsupported_version)
        else:
            return False
        await self._answers.send(response_buffers(header.correlation_id, response), after_write=0)
        return True
