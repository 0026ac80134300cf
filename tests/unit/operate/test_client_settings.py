"""Client settings, as Kafka's tools and librdkafka write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.errors import ConfigurationError
from tallystick.operate.client_settings import ClientSettings, read_properties


def test_addresses_are_told_apart() -> None:
    assert ClientSettings("a:1, [::1]:9092,b.example:9093").addresses() == [
        ("a", 1),
        ("::1", 9092),
        ("b.example", 9093),
    ]


@pytest.mark.parametrize("bootstrap", ["", "localhost", "localhost:", ":9092", "a:b", "a:0", "a:65536", "a:1,b"])
def test_what_is_no_address_is_named(bootstrap: str) -> None:
    with pytest.raises(ConfigurationError, match=r"host:port|no bootstrap server"):
        ClientSettings(bootstrap)


def test_kafkas_names_and_librdkafkas_are_understood() -> None:
    jaas = 'org.apache.kafka.common.security.scram.ScramLoginModule required username="a" password="p=;";'
    for properties in (
        {"sasl.mechanism": "SCRAM-SHA-512", "sasl.jaas.config": jaas, "ssl.truststore.location": "/ca",
         "ssl.truststore.type": "PEM"},
        {"sasl.mechanisms": "SCRAM-SHA-512", "sasl.username": "a", "sasl.password": "p=;", "ssl.ca.location": "/ca"},
    ):  # fmt: skip
        found = ClientSettings.from_properties("h:1", {"security.protocol": "sasl_ssl", "acks": "all"} | properties)
        assert (found.sasl_mechanism, found.sasl_username, found.sasl_password) == ("SCRAM-SHA-512", "a", "p=;")
        assert (found.security_protocol, found.ssl_ca_location) == ("SASL_SSL", Path("/ca"))
        assert "p=;" not in repr(found)


@pytest.mark.parametrize(
    ("properties", "complaint"),
    [
        ({"security.protocol": "TLS"}, "security.protocol 'TLS' is unknown"),
        ({"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI"}, "sasl.mechanism 'GSSAPI' is not offered"),
        ({"security.protocol": "SASL_SSL"}, "needs a user"),
        ({"ssl.truststore.location": "trust.jks"}, "is a Java key store"),
    ],
)
def test_what_cannot_be_followed_is_refused(properties: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        ClientSettings.from_properties("h:1", properties)


def test_a_line_without_an_equals_sign_is_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "client.properties"
    path.write_text("# a comment\n\n! another\nbootstrap.servers = h:1\n")
    assert read_properties(path) == {"bootstrap.servers": "h:1"}
    path.write_text("a=1\nnonsense\n")
    with pytest.raises(ConfigurationError, match=r"client\.properties, line 2"):
        read_properties(path)
    with pytest.raises(ConfigurationError, match="FileNotFoundError"):
        read_properties(tmp_path / "none")
