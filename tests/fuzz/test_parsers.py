"""Texts and bytes that somebody else writes: each parser gives a value or its own error, and nothing else."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.certificates import Authority

from tallystick.broker.broker_configs.given import Given, collect
from tallystick.broker.broker_configs.reading import read
from tallystick.broker.security.authentication import Authentication
from tallystick.broker.security.certificate import MalformedCertificate, subject_of
from tallystick.broker.security.credentials import Credentials
from tallystick.broker.security.listeners import check_exposure, parse_address, read_listeners
from tallystick.broker.security.mechanism import Exchange
from tallystick.broker.security.plain import PlainServer
from tallystick.broker.security.principal import ANONYMOUS, parse_principal
from tallystick.broker.security.scram import ScramMechanism, ScramServer, derive
from tallystick.broker.security.settings import AuthorizerSettings, ListenerSettings, SaslSettings, SecuritySettings
from tallystick.broker.security.users import given_users
from tallystick.errors import ConfigurationError
from tallystick.wire.batch import MalformedBatch
from tallystick.wire.compression import decompress
from tallystick.wire.records import decode_batch

EXAMPLES: Final = max(int(os.environ.get("TALLYSTICK_FUZZ_ROUNDS", "0")) // 20, 100)
fuzzed: Final = settings(max_examples=EXAMPLES, deadline=None)
PASSWORD: Final = "correct horse"
SALT: Final = b"0123456789abcdef"


def scram(mechanism: ScramMechanism) -> Exchange:
    credential = derive(mechanism, PASSWORD, salt=SALT, iterations=4096)
    return ScramServer(mechanism, {"alice": credential}.get, nonce="server", decoy_key=b"k" * 32)


TOKENS: Final = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"n,,n=alice,r=client",
            b"n,,n=bob,r=client",
            b"n,a=alice,n=alice,r=client",
            b"p=tls-unique,,n=alice,r=client",
            b"c=biws,r=clientserver,p=" + b"A" * 44,
            b"c=biws,r=clientserver,p=",
            b"\0alice\0wrong",
            b"alice\0alice\0wrong",
            b"\0\0",
            b"\0alice\0",
        ]
    ),
)
STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("handshake"), st.sampled_from(["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI"])),
        st.tuples(st.just("raw"), st.sampled_from(["PLAIN", "SCRAM-SHA-256"])),
        st.tuples(st.just("token"), TOKENS),
    ),
    max_size=12,
)


@given(STEPS)
@fuzzed
def test_no_way_through_the_exchange_without_the_password_ends_with_a_name(steps: list[tuple[str, Any]]) -> None:
    makers: dict[str, Callable[[], Exchange]] = {
        "PLAIN": lambda: PlainServer(lambda name, password: (name, password) == ("alice", PASSWORD)),
        "SCRAM-SHA-256": lambda: scram(ScramMechanism.SCRAM_SHA_256),
        "SCRAM-SHA-512": lambda: scram(ScramMechanism.SCRAM_SHA_512),
    }
    state = Authentication(makers, session_ms=1_000)
    for now_ms, (what, content) in enumerate(steps):
        if what == "token":
            state.authenticate(content, now_ms=now_ms)
        elif not state.has_failed:
            state.handshake(content, raw=what == "raw")
        assert state.principal == ANONYMOUS
        assert not state.is_authenticated
        assert not state.admits(0, now_ms=now_ms)


@given(st.text(max_size=20), st.text(max_size=20))
@settings(fuzzed, max_examples=EXAMPLES // 4)
def test_only_the_password_is_the_password(name: str, password: str) -> None:
    with contextlib.suppress(UnicodeEncodeError):
        assert not Credentials({"alice": PASSWORD}).is_password(name, password)


@given(st.binary(max_size=200))
@fuzzed
def test_a_certificate_that_is_none_is_malformed(raw: bytes) -> None:
    with contextlib.suppress(MalformedCertificate):
        subject_of(raw)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    alice = Authority(tmp_path_factory.mktemp("authority")).client("alice", organization="Example")
    return ssl.PEM_cert_to_DER_cert(alice.chain.read_text(encoding="ascii"))


@given(st.data())
@fuzzed
def test_a_damaged_certificate_has_another_subject_or_is_malformed(certificate: bytes, data: st.DataObject) -> None:
    raw = bytearray(certificate)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedCertificate):
        subject_of(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


ADDRESSES: Final = st.one_of(
    st.text(max_size=30),
    st.from_regex(r"[A-Z_]{0,8}://[a-z0-9.:\[\]%]{0,12}:[0-9]{0,6}", fullmatch=True),
    st.sampled_from(["PLAINTEXT://0.0.0.0:1", "SSL://[::]:1", "PLAINTEXT://[::ffff:127.0.0.1]:1", "PLAINTEXT://1:1"]),
)


@given(st.lists(ADDRESSES, max_size=3), st.lists(ADDRESSES, max_size=2), st.lists(st.text(max_size=20), max_size=2))
@fuzzed
def test_listeners_that_pass_are_on_loopback_or_have_tls_and_names(
    listeners: list[str], advertised: list[str], protocols: list[str]
) -> None:
    try:
        made = read_listeners(
            ListenerSettings(
                listeners=tuple(listeners),
                advertised_listeners=tuple(advertised),
                listener_security_protocol_map=tuple(protocols),
            )
        )
        check_exposure(made, client_certificates=False)
    except ConfigurationError:
        return
    for listener in made:
        loopback = listener.host.startswith("127.") or listener.host in ("::1", "::ffff:127.0.0.1")
        assert (
            loopback or listener.host.startswith("::1%") or (listener.protocol.has_tls and listener.protocol.has_sasl)
        )


@given(st.text(max_size=60))
@fuzzed
def test_texts_give_a_value_or_say_what_is_wrong(text: str) -> None:
    parse_principal(text)
    for call in (
        lambda: parse_address(text, setting="s"),
        lambda: AuthorizerSettings(super_users=text),
        lambda: given_users(SaslSettings(sasl_jaas_config=text)),
    ):
        with contextlib.suppress(ConfigurationError):
            call()


@given(st.binary(max_size=120))
@fuzzed
def test_a_users_file_and_a_properties_file_give_values_or_say_what_is_wrong(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = _file(tmp_path_factory)
    path.write_bytes(raw)
    path.chmod(0o600)
    with contextlib.suppress(ConfigurationError):
        given_users(SaslSettings(users_file=path))
    with contextlib.suppress(ConfigurationError):
        collect(path, ())


def _file(factory: pytest.TempPathFactory) -> Path:
    return factory.getbasetemp() / "given"


@given(
    st.dictionaries(
        st.sampled_from(
            (
                *("listeners", "super.users", "max.connections.per.ip.overrides", "ssl.client.auth", "node.id"),
                *("authorizer.class.name", "connections.max.reauth.ms", "sasl.enabled.mechanisms", "log.retention.ms"),
            )
        ),
        st.text(max_size=30),
        max_size=4,
    )
)
@fuzzed
def test_configurations_give_settings_or_say_what_is_wrong(texts: dict[str, str]) -> None:
    with contextlib.suppress(ConfigurationError):
        made = read({name: Given(name, value, "here") for name, value in texts.items()})
        assert isinstance(made.security, SecuritySettings)


@given(st.binary(max_size=200))
@fuzzed
def test_bytes_are_a_batch_or_malformed(raw: bytes) -> None:
    with contextlib.suppress(MalformedBatch):
        decode_batch(raw)


@given(st.integers(0, 7), st.binary(max_size=200))
@fuzzed
def test_bytes_decompress_or_are_malformed(codec: int, raw: bytes) -> None:
    for content in (raw, b"\x82SNAPPY\x00" + raw):
        with contextlib.suppress(MalformedBatch):
            decompress(codec, content, max_bytes=1_000_000)
