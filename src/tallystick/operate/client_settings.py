"""How a tool reaches a cluster: the few client settings that concern the connection.

Owns: their names (Kafka's, and librdkafka's where they differ), the properties file, and what contradicts itself.
Must not know: sockets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from tallystick.errors import ConfigurationError

PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

_JAAS_OPTION: Final = re.compile(r'(\w+)\s*=\s*"((?:[^"\\]|\\.)*)"')
_STORES: Final = ("ssl.truststore.location", "ssl.keystore.location")


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """``bootstrap`` is one ``host:port`` or several with commas; ``timeout_s`` bounds each answer."""

    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ssl_ca_location: Path | None = None
    ssl_certificate_location: Path | None = None
    ssl_key_location: Path | None = None
    ssl_key_password: str | None = field(default=None, repr=False)
    verify_hostname: bool = True
    client_id: str = "tallystick"
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if self.security_protocol not in PROTOCOLS:
            raise ConfigurationError(
                f"security.protocol {self.security_protocol!r} is unknown", remedy=f"Use one of {', '.join(PROTOCOLS)}"
            )
        if self.uses_sasl and self.sasl_mechanism not in MECHANISMS:
            raise ConfigurationError(
                f"sasl.mechanism {self.sasl_mechanism!r} is not offered", remedy=f"Use one of {', '.join(MECHANISMS)}"
            )
        if self.uses_sasl and not self.sasl_username:
            raise ConfigurationError(
                f"{self.security_protocol} needs a user",
                remedy="Set sasl.username and sasl.password, or sasl.jaas.config, in the properties file",
            )
        self.addresses()

    @property
    def uses_tls(self) -> bool:
        return self.security_protocol.endswith("SSL")

    @property
    def uses_sasl(self) -> bool:
        return self.security_protocol.startswith("SASL_")

    def addresses(self) -> list[tuple[str, int]]:
        """The bootstrap servers as (host, port); ``ConfigurationError`` names the one that is malformed."""
        found = []
        for part in filter(None, (text.strip() for text in self.bootstrap.split(","))):
            host, colon, port = part.rpartition(":")
            if not (colon and host and port.isdigit() and 0 < int(port) < 65536):
                raise ConfigurationError(f"{part!r} is no host:port", remedy="For example --bootstrap 127.0.0.1:9092")
            found.append((host.strip("[]"), int(port)))
        if not found:
            raise ConfigurationError("no bootstrap server is given", remedy="For example --bootstrap 127.0.0.1:9092")
        return found

    @classmethod
    def from_properties(cls, bootstrap: str | None, properties: Mapping[str, str]) -> Self:
        """From Kafka's or librdkafka's client settings. Those that do not concern the connection are passed over.

        ``bootstrap`` wins over ``bootstrap.servers``. ``ConfigurationError`` for what cannot be followed.
        """
        for name in _STORES:
            if name in properties and properties.get(name.replace("location", "type"), "").upper() != "PEM":
                raise ConfigurationError(
                    f"{name} is a Java key store, which is not read here", remedy="Give PEM files: ssl.ca.location, "
                    "ssl.certificate.location, ssl.key.location"
                )  # fmt: skip
        jaas = dict(_JAAS_OPTION.findall(properties.get("sasl.jaas.config", "")))

        def path(*names: str) -> Path | None:
            return next((Path(properties[name]) for name in names if properties.get(name)), None)

        return cls(
            bootstrap=bootstrap or properties.get("bootstrap.servers", ""),
            security_protocol=properties.get("security.protocol", "PLAINTEXT").upper(),
            sasl_mechanism=properties.get("sasl.mechanism", properties.get("sasl.mechanisms", "PLAIN")),
            sasl_username=properties.get("sasl.username", jaas.get("username", "")),
            sasl_password=properties.get("sasl.password", jaas.get("password", "")),
            ssl_ca_location=path("ssl.ca.location", "ssl.truststore.location"),
            ssl_certificate_location=path("ssl.certificate.location", "ssl.keystore.location"),
            ssl_key_location=path("ssl.key.location"),
            ssl_key_password=properties.get("ssl.key.password"),
            verify_hostname=properties.get("ssl.endpoint.identification.algorithm", "https") not in ("", "none"),
        )

    def for_librdkafka(self) -> dict[str, str]:
        """The same settings under librdkafka's names, without ``bootstrap.servers``."""
        found = {"security.protocol": self.security_protocol}
        if self.uses_sasl:
            found |= {
                "sasl.mechanism": self.sasl_mechanism,
                "sasl.username": self.sasl_username,
                "sasl.password": self.sasl_password,
            }
        if self.uses_tls:
            given = {
                "ssl.ca.location": self.ssl_ca_location,
                "ssl.certificate.location": self.ssl_certificate_location,
                "ssl.key.location": self.ssl_key_location,
                "ssl.key.password": self.ssl_key_password,
            }
            found |= {name: str(value) for name, value in given.items() if value is not None}
            found["ssl.endpoint.identification.algorithm"] = "https" if self.verify_hostname else "none"
        return found


def read_properties(path: Path) -> dict[str, str]:
    """``name=value`` lines; blank ones and those that begin with ``#`` or ``!`` are passed over."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error.__class__.__name__}") from error
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#!":
            continue
        name, equals, value = stripped.partition("=")
        if not equals:
            raise ConfigurationError(f"{path}, line {number}: no '=' in it")
        found[name.strip()] = value.strip()
    return found
