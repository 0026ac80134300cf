"""Configurations of one listener (KIP-103): ``listener.name.<listener>[.<mechanism>].<name>``.

Owns: when one may stand for the whole broker, which has one TLS context and one set of users. Must not know: what the
values mean. One that would hold for a listener that it was not given for is refused, never widened in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tallystick.broker.broker_configs.definitions import DEFINITIONS
from tallystick.broker.broker_configs.given import LISTENER_PREFIX, Given
from tallystick.errors import ConfigurationError

_MECHANISMS: Final = ("plain", "scram-sha-256", "scram-sha-512", "oauthbearer", "gssapi")
_PER_LISTENER: Final = ("ssl.", "sasl.", "connections.max.reauth.ms", "principal.builder.class")

Noted = Callable[[Given, str], None]


def without_prefix(given: Mapping[str, Given], *, notes: Noted) -> dict[str, Given]:
    """All configurations by their plain names."""
    plain = {name: row for name, row in given.items() if not name.startswith(LISTENER_PREFIX)}
    for row in given.values():
        if not row.name.startswith(LISTENER_PREFIX):
            continue
        listener, mechanism, name = _parts(row)
        if listener in _split(given, "controller.listener.names"):
            notes(row, "a controller's listener is not opened")
        elif mechanism not in (None, "plain"):
            notes(row, "only PLAIN has settings of its own; users of SCRAM are kept in the data folder")
        else:
            _check_alone(row, listener, name, given)
            present = plain.get(name)
            if present is not None and present.value != row.value:
                raise ConfigurationError(f"{row.place}: {row.name} contradicts {name} ({present.place})")
            plain[name] = Given(name, row.value, row.place)
    return plain


def _parts(row: Given) -> tuple[str, str | None, str]:
    """Listener, mechanism and plain name."""
    listener, _, name = row.name.removeprefix(LISTENER_PREFIX).partition(".")
    mechanism, _, rest = name.partition(".")
    if mechanism in _MECHANISMS:
        return listener.upper(), mechanism, _known(row, rest)
    return listener.upper(), None, _known(row, name)


def _known(row: Given, name: str) -> str:
    if name not in DEFINITIONS or not name.startswith(_PER_LISTENER):
        raise ConfigurationError(f"{row.place}: {row.name} is no configuration that a listener has")
    return name


def _check_alone(row: Given, listener: str, name: str, given: Mapping[str, Given]) -> None:
    """The listener must be the only one that the configuration can hold for."""
    protocols = dict(entry.split(":", 1) for entry in _split(given, "listener.security.protocol.map") if ":" in entry)
    names = [entry.partition("://")[0].strip() for entry in _split(given, "listeners")]
    controllers = _split(given, "controller.listener.names")
    if listener not in names:
        raise ConfigurationError(f"{row.place}: listeners has no {listener}, which {row.name} is for")
    part = "SSL" if name.startswith("ssl.") else "SASL"
    others = [
        other
        for other in names
        if other != listener and other not in controllers and part in protocols.get(other, other).strip()
    ]
    if others:
        raise ConfigurationError(
            f"{row.place}: {row.name} would hold for {others[0]}, too: {name} is one for the whole broker",
            remedy=f"Give {name} without the listener's name if that is meant.",
        )


def _split(given: Mapping[str, Given], name: str) -> list[str]:
    row = given.get(name)
    return [] if row is None else [part.strip().upper() for part in row.value.split(",") if part.strip()]
