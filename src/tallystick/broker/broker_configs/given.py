"""The configurations that somebody gave, each with the place where: a line of a file, or ``--set``.

Owns: their order of precedence, and the refusal of an unknown name. Must not know: what a value means.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tallystick.broker.broker_configs.definitions import DEFINITIONS
from tallystick.broker.broker_configs.properties import read_properties
from tallystick.errors import ConfigurationError

LISTENER_PREFIX: Final = "listener.name."
"""In front of a configuration that holds for one listener: ``listener.name.external.ssl.client.auth`` (KIP-103)."""

_REMOVED: Final = (
    "zookeeper.",
    "broker.id.generation.enable",
    "control.plane.listener.name",
    "inter.broker.protocol.version",
    "log.message.downconversion.enable",
    "log.message.format.version",
    "log.message.timestamp.difference.max.ms",
    "reserved.broker.max.id",
    "sasl.server.authn.async",
)


@dataclass(frozen=True, slots=True)
class Given:
    """One configuration as it was given."""

    name: str
    value: str = field(repr=False)
    place: str


def collect(properties: Path | None, sets: Sequence[str]) -> dict[str, Given]:
    """By name: those of the file, and before them those of ``--set``; the last of a name counts.

    ``ConfigurationError`` for a name that Apache Kafka 4.3 does not have, with the nearest one that it has.
    """
    found: dict[str, Given] = {}
    for entry in () if properties is None else read_properties(properties):
        found[entry.name] = Given(entry.name, entry.value, f"{properties}, line {entry.line}")
    for text in sets:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigurationError(f"--set {text!r} is not name=value", remedy="For example --set num.partitions=8.")
        if _is_secret(name.strip()):
            raise ConfigurationError(
                f"--set {name.strip()} would show a secret to everybody on this machine",
                remedy="Put it into a file that only the broker's user can read, and give --properties FILE.",
            )
        found[name.strip()] = Given(name.strip(), value, "--set")
    for given in found.values():
        _check_name(given)
    return found


def _is_secret(name: str) -> bool:
    """Of a listener's own configurations, too: there the plain name stands at the end."""
    secrets = (secret for secret, definition in DEFINITIONS.items() if definition.is_sensitive)
    return any(name == secret or name.endswith(f".{secret}") for secret in secrets)


def _check_name(given: Given) -> None:
    if given.name in DEFINITIONS or given.name.startswith(LISTENER_PREFIX):
        return
    if given.name.startswith(_REMOVED):
        raise ConfigurationError(f"{given.place}: {given.name} was removed in Apache Kafka 4.0", remedy="Leave it out.")
    near = difflib.get_close_matches(given.name, DEFINITIONS, n=1)
    raise ConfigurationError(
        f"{given.place}: Apache Kafka 4.3 has no broker configuration {given.name!r}",
        remedy=f"Did you mean {near[0]}?" if near else "`tallystick broker --list-settings` shows all.",
    )
