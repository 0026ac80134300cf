"""Which listeners there are, what clients are told, and which must not be opened."""

from __future__ import annotations

import pytest

from tallystick.broker.security.listeners import (
    Listener,
    SecurityProtocol,
    check_exposure,
    plaintext_listener,
    read_listeners,
)
from tallystick.broker.security.settings import ListenerSettings
from tallystick.errors import ConfigurationError

ANY = "0.0.0.0"  # noqa: S104


def read(*listeners: str, **others: tuple[str, ...]) -> tuple[Listener, ...]:
    return read_listeners(ListenerSettings(listeners=listeners, **others))


def test_listeners_have_a_name_a_protocol_and_an_address() -> None:
    inside, outside = read(
        "plaintext://:9092",
        "OUTSIDE://0.0.0.0:9093",
        advertised_listeners=("OUTSIDE://kafka.example.org:443",),
        listener_security_protocol_map=("OUTSIDE:SASL_SSL",),
    )
    assert (inside.name, inside.protocol, inside.host, inside.port) == (
        "PLAINTEXT",
        SecurityProtocol.PLAINTEXT,
        "127.0.0.1",
        9092,
    )
    assert (inside.advertised_host, inside.advertised_port) == ("127.0.0.1", None)
    assert (outside.protocol, outside.host) == (SecurityProtocol.SASL_SSL, ANY)
    assert (outside.advertised_host, outside.advertised_port) == ("kafka.example.org", 443)


def test_a_server_properties_of_one_node_may_name_its_controller_s_listener() -> None:
    (only,) = read(
        "PLAINTEXT://:9092",
        "CONTROLLER://:9093",
        controller_listener_names=("CONTROLLER",),
        advertised_listeners=("PLAINTEXT://localhost:9092", "CONTROLLER://localhost:9093"),
        listener_security_protocol_map=("CONTROLLER:PLAINTEXT", "PLAINTEXT:PLAINTEXT"),
    )
    assert only.name == "PLAINTEXT"


@pytest.mark.parametrize(
    ("listeners", "others", "said"),
    [
        (("PLAINTEXT",), {}, "PLAINTEXT"),
        (("PLAINTEXT://1:2:3",), {}, "brackets"),
        (("PLAINTEXT://:1", "PLAINTEXT://:2"), {}, "twice"),
        (("INSIDE://:1",), {}, "listener.security.protocol.map"),
        (("INSIDE://:1",), {"listener_security_protocol_map": ("INSIDE:KERBEROS",)}, "KERBEROS"),
        (("PLAINTEXT://:1",), {"advertised_listeners": ("SSL://a:1",)}, "SSL"),
        (("PLAINTEXT://:1",), {"controller_listener_names": ("PLAINTEXT",)}, "no listener"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(
    listeners: tuple[str, ...], others: dict[str, tuple[str, ...]], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read(*listeners, **others)


@pytest.mark.parametrize("protocol", SecurityProtocol)
@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "10.0.0.1", "fe80::1", "example.org", "::", ANY])
@pytest.mark.parametrize("client_certificates", [False, True])
def test_beyond_loopback_there_is_tls_and_authentication_or_nothing(
    protocol: SecurityProtocol, host: str, client_certificates: bool
) -> None:
    listener = Listener(name="X", protocol=protocol, host=host, port=1, advertised_host="broker.example.org")
    safe = protocol is SecurityProtocol.SASL_SSL or (protocol is SecurityProtocol.SSL and client_certificates)
    if host in ("127.0.0.1", "127.8.0.1", "::1") or safe:
        check_exposure([listener], client_certificates=client_certificates)
    else:
        with pytest.raises(ConfigurationError, match="can be reached by others and lacks"):
            check_exposure([listener], client_certificates=client_certificates)


def test_an_address_that_means_every_address_is_not_told_to_clients() -> None:
    listener = Listener(
        name="X",
        protocol=SecurityProtocol.SASL_SSL,
        host=ANY,
        port=1,
        advertised_host=ANY,
    )
    with pytest.raises(ConfigurationError, match="--advertise X://"):
        check_exposure([listener], client_certificates=False)
    check_exposure([plaintext_listener("127.0.0.1", 1)], client_certificates=False)
