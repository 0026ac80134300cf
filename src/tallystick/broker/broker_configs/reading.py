"""From configurations that were given to the settings that the broker's parts take.

Owns: parsing, what a value that has no effect is answered with, and the few names that become something else. Must not
know: files, the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from tallystick.broker.broker_configs.definitions import DEFINITIONS, Treatment
from tallystick.broker.broker_configs.effects import only
from tallystick.broker.broker_configs.given import Given
from tallystick.broker.broker_configs.of_listeners import without_prefix
from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.groups.settings import GroupSettings
from tallystick.broker.log.settings import LogSettings
from tallystick.broker.node_settings import NodeSettings
from tallystick.broker.security.settings import (
    AuthorizerSettings,
    ConnectionSettings,
    ListenerSettings,
    SaslSettings,
    SecuritySettings,
    TlsSettings,
)
from tallystick.broker.topic_configs import defaults_from_broker
from tallystick.broker.topic_configs.value_types import Value
from tallystick.broker.transactions.settings import TransactionSettings
from tallystick.errors import ConfigurationError
from tallystick.wire.errors import ApiError

_Settings = TypeVar("_Settings")
_BROKER: Final = "broker"


@dataclass(frozen=True, slots=True)
class Note:
    """A configuration that was given and has no effect, and why."""

    name: str
    place: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfigs:
    """Everything that the given configurations say. ``values`` are their texts in normal form, by name.

    ``fsync`` and ``data`` are None if nothing was said of them.
    """

    values: Mapping[str, str]
    node: NodeSettings
    log: LogSettings
    groups: GroupSettings
    transactions: TransactionSettings
    security: SecuritySettings
    fsync: FsyncPolicy | None
    data: Path | None
    notes: tuple[Note, ...]


def read(given: Mapping[str, Given]) -> BrokerConfigs:
    """``ConfigurationError`` with the place for a value that is malformed, out of bounds, or refused."""
    notes: list[Note] = []
    plain = without_prefix(given, notes=lambda row, reason: notes.append(Note(row.name, row.place, reason)))
    values = {name: _parsed(row) for name, row in plain.items()}
    texts = {name: DEFINITIONS[name].type.render(value) for name, value in values.items()}
    for name, row in plain.items():
        reason = _note(name, values[name])
        if reason is not None:
            notes.append(Note(row.name, row.place, reason))
    _check_roles(plain, values)
    _check_topic_defaults(plain, texts)

    def settings(of: Callable[..., _Settings]) -> _Settings:
        return of(**fields_of(of, values))

    return BrokerConfigs(
        values=texts,
        node=NodeSettings(**fields_of(NodeSettings, values | _node_id(plain, values))),
        log=settings(LogSettings),
        groups=settings(GroupSettings),
        transactions=settings(TransactionSettings),
        security=SecuritySettings(
            listeners=settings(ListenerSettings),
            connections=settings(ConnectionSettings),
            sasl=settings(SaslSettings),
            tls=settings(TlsSettings),
            authorizer=settings(AuthorizerSettings),
        ),
        fsync=_fsync(values),
        data=_data(plain, values),
        notes=tuple(notes),
    )


def _parsed(row: Given) -> Value:
    definition = DEFINITIONS[row.name]
    shown = "[hidden]" if definition.is_sensitive else row.value.strip()
    try:
        value = definition.parse(row.value)
    except ValueError as error:
        raise ConfigurationError(f"{row.place}: {row.name}={shown}: {error}") from None
    taken = only(row.name)
    if taken is not None and definition.treatment is Treatment.REFUSED:
        text = definition.type.render(value)
        if text not in taken.values:
            raise ConfigurationError(f"{row.place}: {row.name}={shown} is refused: {taken.reason}")
    return value


def _note(name: str, value: Value) -> str | None:
    if name == "log.flush.interval.messages" and value != 1:
        return "of this one only 1 has an effect; --fsync decides when data is forced to the disk"
    definition = DEFINITIONS[name]
    return definition.text if definition.treatment is Treatment.WITHOUT_EFFECT else None


def fields_of(of: Callable[..., Any], values: Mapping[str, Value]) -> dict[str, Any]:
    """The given values of a settings class, each in the type of its field."""
    found: dict[str, Any] = {}
    for field in fields(of):  # type: ignore[arg-type]
        value = values.get(field.name.replace("_", "."))
        if value is None:
            continue
        if isinstance(field.default, tuple) and isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        if field.name == "queued_max_request_bytes" and isinstance(value, int) and value < 0:
            continue
        found[field.name] = value
    return found


def _check_roles(plain: Mapping[str, Given], values: Mapping[str, Value]) -> None:
    roles = values.get("process.roles")
    if isinstance(roles, tuple) and _BROKER not in roles:
        raise ConfigurationError(
            f"{plain['process.roles'].place}: process.roles has no {_BROKER!r}",
            remedy="A controller of its own is neither needed nor run; leave this process out.",
        )


def _node_id(plain: Mapping[str, Given], values: Mapping[str, Value]) -> dict[str, Value]:
    old = values.get("broker.id", -1)
    if old == -1:
        return {}
    if values.get("node.id", old) != old:
        raise ConfigurationError(
            f"{plain['broker.id'].place}: broker.id and node.id differ", remedy="Give node.id only."
        )
    return {"node.id": old}


def _check_topic_defaults(plain: Mapping[str, Given], texts: Mapping[str, str]) -> None:
    try:
        defaults_from_broker(texts)
    except ApiError as error:
        place = next((row.place for row in plain.values() if f"{row.name}:" in (error.message or "")), "")
        raise ConfigurationError(f"{place}: {error.message}" if place else str(error.message)) from None


def _fsync(values: Mapping[str, Value]) -> FsyncPolicy | None:
    if values.get("log.flush.interval.messages") == 1:
        return FsyncPolicy.COMMIT
    return FsyncPolicy.INTERVAL if "log.flush.interval.ms" in values else None


def _data(plain: Mapping[str, Given], values: Mapping[str, Value]) -> Path | None:
    for name in ("log.dirs", "log.dir"):
        folders = values.get(name)
        if isinstance(folders, tuple) and folders:
            if len(folders) > 1:
                raise ConfigurationError(
                    f"{plain[name].place}: {name} has {len(folders)} folders", remedy="This broker keeps all in one."
                )
            return Path(folders[0])
    return None
