"""SASL and TLS over sockets, as a client sees them that was written out here."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import Authority
from tests.unit.broker.in_process import CLOCK, opened
from tests.unit.broker.test_server import Client, metadata_request, versions_request

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.node import Node
from tallystick.broker.security.offline import opened_store, set_password
from tallystick.broker.security.principal import Principal
from tallystick.broker.security.scram import ScramMechanism
from tallystick.broker.security.settings import (
    ConnectionSettings,
    ListenerSettings,
    SaslSettings,
    SecuritySettings,
    TlsSettings,
)
from tallystick.broker.server import Server
from tallystick.clock import Clock, ManualClock
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode
from tallystick.wire.frames import read_response, write_request


class Remembering:
    """Stands in front of the handlers and remembers who asked."""

    def __init__(self) -> None:
        self.principals: list[Principal] = []

    async def handle(self, api: Api, context: RequestContext, request: Any) -> Any:
        if api.name == "metadata":
            self.principals.append(context.principal)
        return await api.handle(context, request)


class Door:
    """A running server and a way in."""

    def __init__(self, node: Node, server: Server, seen: Remembering) -> None:
        self.node, self.server, self.seen = node, server, seen
        self._clients: list[Client] = []

    async def connect(self, listener: str, tls: ssl.SSLContext | None = None) -> Client:
        host = "localhost" if tls else None
        client = Client(
            *await asyncio.open_connection("127.0.0.1", self.server.ports[listener], ssl=tls, server_hostname=host)
        )
        self._clients.append(client)
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


@asynccontextmanager
async def serving(data: Path, *listeners: str, clock: Clock = CLOCK, **settings: Any) -> AsyncIterator[Door]:
    security = SecuritySettings(listeners=ListenerSettings(listeners=listeners), **settings)
    with opened(data, security=security, clock=clock) as node:
        seen = Remembering()
        server = Server(node, interceptor=seen)
        await server.listen()
        work = asyncio.create_task(server.run())
        door = Door(node, server, seen)
        try:
            yield door
        finally:
            await door.close()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await server.close()


def with_users(data: Path, **passwords: str) -> Path:
    with opened_store(data) as store:
        for name, password in passwords.items():
            set_password(store, name, password, mechanisms=list(ScramMechanism), iterations=4096)
    return data


async def handshake(client: Client, mechanism: str, *, version: int = 1) -> Any:
    client.send(
        write_request(1, "t", schema.request("sasl_handshake", version).SaslHandshakeRequest(mechanism=mechanism))
    )
    frame = await client.receive()
    assert frame is not None
    return read_response(frame, 17, version)[1]


async def authenticate(client: Client, token: bytes) -> Any:
    client.send(write_request(2, "t", schema.request("sasl_authenticate", 2).SaslAuthenticateRequest(auth_bytes=token)))
    frame = await client.receive()
    assert frame is not None
    return read_response(frame, 36, 2)[1]


async def plain(client: Client, name: str, password: str) -> Any:
    assert (await handshake(client, "PLAIN")).error_code == ErrorCode.none
    return await authenticate(client, f"\0{name}\0{password}".encode())


async def is_answered(client: Client) -> bool:
    client.send(metadata_request(3, "events"))
    return await client.receive() is not None


def test_before_authentication_nothing_but_authentication_is_answered(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(with_users(tmp_path, alice="secret"), "SASL_PLAINTEXT://:0") as door:
            stranger = await door.connect("SASL_PLAINTEXT")
            stranger.send(versions_request(1))
            assert await stranger.receive() is not None
            assert not await is_answered(stranger)
            assert door.node.partitions.by_name("events") is None, "nothing was done either"
            client = await door.connect("SASL_PLAINTEXT")
            assert (await plain(client, "alice", "secret")).error_code == ErrorCode.none
            assert await is_answered(client)
            assert [str(who) for who in door.seen.principals] == ["User:alice"]

    asyncio.run(run())


def test_a_wrong_password_is_answered_and_then_the_connection_ends(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(with_users(tmp_path, alice="secret"), "SASL_PLAINTEXT://:0") as door:
            client = await door.connect("SASL_PLAINTEXT")
            refused = await plain(client, "alice", "guess")
            assert refused.error_code == ErrorCode.sasl_authentication_failed
            assert "secret" not in refused.error_message
            assert await client.receive() is None

    asyncio.run(run())


def test_an_unknown_mechanism_is_answered_with_those_that_there_are(tmp_path: Path) -> None:
    async def run() -> None:
        sasl = SaslSettings(sasl_enabled_mechanisms=("SCRAM-SHA-512",))
        async with serving(tmp_path, "SASL_PLAINTEXT://:0", sasl=sasl) as door:
            client = await door.connect("SASL_PLAINTEXT")
            answer = await handshake(client, "GSSAPI")
            assert answer.error_code == ErrorCode.unsupported_sasl_mechanism
            assert answer.mechanisms == ("SCRAM-SHA-512",)
            assert await client.receive() is None

    asyncio.run(run())


def test_tokens_without_requests_around_them_are_taken_after_a_handshake_of_version_0(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(with_users(tmp_path, a="b"), "SASL_PLAINTEXT://:0") as door:
            client = await door.connect("SASL_PLAINTEXT")
            assert (await handshake(client, "PLAIN", version=0)).error_code == ErrorCode.none
            client.send(b"\0\0\0\4\0a\0b")
            assert await client.receive() == b""
            assert await is_answered(client)
            other = await door.connect("SASL_PLAINTEXT")
            await handshake(other, "PLAIN", version=0)
            other.send(b"\0\0\0\4\0a\0c")
            assert await other.receive() is None

    asyncio.run(run())


def test_a_listener_without_sasl_says_so(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, "PLAINTEXT://:0") as door:
            client = await door.connect("PLAINTEXT")
            assert (await handshake(client, "PLAIN")).error_code == ErrorCode.illegal_sasl_state
            assert (await authenticate(client, b"\0a\0b")).error_code == ErrorCode.illegal_sasl_state
            assert await is_answered(client)
            assert [str(who) for who in door.seen.principals] == ["User:ANONYMOUS"]

    asyncio.run(run())


def test_every_listener_tells_its_own_address(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(with_users(tmp_path, a="b"), "PLAINTEXT://:0", "SASL_PLAINTEXT://:0") as door:
            for listener in ("PLAINTEXT", "SASL_PLAINTEXT"):
                client = await door.connect(listener)
                if listener != "PLAINTEXT":
                    await plain(client, "a", "b")
                client.send(metadata_request(3, "events"))
                frame = await client.receive()
                assert frame is not None
                (broker,) = read_response(frame, 3, 1)[1].brokers
                assert (broker.host, broker.port) == ("127.0.0.1", door.server.ports[listener])

    asyncio.run(run())


def test_an_unauthenticated_connection_may_send_small_frames_only(tmp_path: Path) -> None:
    async def run() -> None:
        bounds = ConnectionSettings(sasl_server_max_receive_size=1_000)
        async with serving(with_users(tmp_path, a="b"), "SASL_PLAINTEXT://:0", connections=bounds) as door:
            client = await door.connect("SASL_PLAINTEXT")
            client.send((1_001).to_bytes(4, "big"))
            assert await client.receive() is None
            client = await door.connect("SASL_PLAINTEXT")
            await plain(client, "a", "b")
            client.send(metadata_request(3, "x" * 2_000))
            assert await client.receive() is not None

    asyncio.run(run())


def test_a_session_that_ran_out_ends_its_connection_unless_it_is_renewed(tmp_path: Path) -> None:
    async def run() -> None:
        sasl = SaslSettings(connections_max_reauth_ms=3_600_000)
        async with serving(with_users(tmp_path, a="b"), "SASL_PLAINTEXT://:0", sasl=sasl) as door:
            client = await door.connect("SASL_PLAINTEXT")
            assert (await plain(client, "a", "b")).session_lifetime.total_seconds() == 3_600
            assert await is_answered(client)
            assert (await plain(client, "a", "b")).error_code == ErrorCode.none
            assert await is_answered(client)
            assert (await plain(client, "a", "wrong")).error_code == ErrorCode.sasl_authentication_failed
            assert await client.receive() is None

    asyncio.run(run())


class SetBack(ManualClock):
    """Its wall clock stands still, as if somebody set it back all the time."""

    def now_ms(self) -> int:
        return 0


def test_a_proof_runs_out_however_the_wall_clock_is_set(tmp_path: Path) -> None:
    async def run() -> None:
        clock = SetBack(start_ms=1_000)
        sasl = SaslSettings(connections_max_reauth_ms=60_000)
        async with serving(with_users(tmp_path, a="b"), "SASL_PLAINTEXT://:0", clock=clock, sasl=sasl) as door:
            client = await door.connect("SASL_PLAINTEXT")
            assert (await plain(client, "a", "b")).error_code == ErrorCode.none
            clock.advance(by_ms=59_999)
            assert await is_answered(client)
            clock.advance(by_ms=1)
            assert not await is_answered(client)

    asyncio.run(run())


def tls_settings(authority: Authority, **others: Any) -> TlsSettings:
    return TlsSettings(tls_cert=authority.server.chain, tls_key=authority.server.key, **others)


def client_context(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.ca_file))


def test_tls_carries_the_protocol_and_asks_for_no_name(tmp_path: Path, authority: Authority) -> None:
    async def run() -> None:
        async with serving(tmp_path, "SSL://:0", tls=tls_settings(authority)) as door:
            client = await door.connect("SSL", client_context(authority))
            assert await is_answered(client)
            assert [str(who) for who in door.seen.principals] == ["User:ANONYMOUS"]
            old = client_context(authority)
            with pytest.warns(DeprecationWarning, match="TLSv1_1"):
                old.maximum_version = ssl.TLSVersion.TLSv1_1
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await door.connect("SSL", old)

    asyncio.run(run())


def test_a_certificate_is_a_name(tmp_path: Path, authority: Authority) -> None:
    async def run() -> None:
        tls = tls_settings(authority, tls_client_ca=authority.ca_file)
        async with serving(tmp_path, "SSL://:0", tls=tls) as door:
            shown = client_context(authority)
            identity = authority.client("alice", organization="Ex, Inc.", unit="ops")
            shown.load_cert_chain(identity.chain, identity.key)
            assert await is_answered(await door.connect("SSL", shown))
            assert [str(who) for who in door.seen.principals] == ["User:CN=alice,OU=ops,O=Ex\\, Inc."]
            with pytest.raises(
                (ssl.SSLError, ConnectionError, AssertionError)
            ):  # by TLS 1.3, it is told on the first read
                assert await is_answered(await door.connect("SSL", client_context(authority)))
            assert len(door.seen.principals) == 1

    asyncio.run(run())


def test_who_speaks_no_tls_costs_its_connection(tmp_path: Path, authority: Authority) -> None:
    async def run() -> None:
        async with serving(tmp_path, "SSL://:0", tls=tls_settings(authority)) as door:
            client = await door.connect("SSL")
            client.send(versions_request(1))
            answer = await client.receive()
            assert answer is None or len(answer) < 10, "at most a TLS alert"
            assert await is_answered(await door.connect("SSL", client_context(authority)))

    asyncio.run(run())


def test_a_keystore_may_be_one_file_or_a_text(tmp_path: Path, authority: Authority) -> None:
    server = authority.server
    texts = TlsSettings(
        ssl_keystore_key=server.key.read_text(), ssl_keystore_certificate_chain=server.chain.read_text()
    )

    async def run(settings: TlsSettings, data: Path) -> None:
        async with serving(data, "SSL://:0", tls=settings) as door:
            assert await is_answered(await door.connect("SSL", client_context(authority)))

    for number, settings in enumerate((TlsSettings(ssl_keystore_location=str(server.both)), texts)):
        assert "PRIVATE" not in repr(settings)
        asyncio.run(run(replace(settings, ssl_client_auth="none"), tmp_path / str(number)))
