"""All broker configurations of Apache Kafka 4.3, as one table, and how each is treated here.

Owns: name, type, default, bounds, and whether it is honoured, has no effect, or is refused. Must not know: values that
were given. ``kafka-4.3.txt`` is Kafka's half; honoured is what a settings class has a field for.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from tallystick.broker.broker_configs.effects import only, reason_without_effect
from tallystick.broker.broker_configs.meanings import MEANINGS
from tallystick.broker.groups.settings import GroupSettings
from tallystick.broker.log.settings import LogSettings
from tallystick.broker.node_settings import NodeSettings
from tallystick.broker.security.settings import (
    AuthorizerSettings,
    ConnectionSettings,
    ListenerSettings,
    SaslSettings,
    TlsSettings,
)
from tallystick.broker.topic_configs import DEFINITIONS as TOPIC_DEFINITIONS
from tallystick.broker.topic_configs import ConfigType, TopicConfig
from tallystick.broker.topic_configs.bounds import Check, anything, at_least, between, gzip_level, one_of, some_of
from tallystick.broker.topic_configs.value_types import Value
from tallystick.broker.transactions.settings import TransactionSettings

HOLDERS: Final[tuple[type[Any], ...]] = (
    NodeSettings,
    LogSettings,
    GroupSettings,
    TransactionSettings,
    ListenerSettings,
    ConnectionSettings,
    SaslSettings,
    TlsSettings,
    AuthorizerSettings,
)
"""The classes whose fields are settings of the broker. A field is Kafka's name with underscores."""

READ_APART: Final = ("broker.id", "log.dir", "log.dirs", "log.flush.interval.messages", "process.roles")
"""Honoured without a field: ``reading`` makes something else of them."""

_NO_DEFAULT: Final = "/tmp/kafka-logs"  # noqa: S108 - Kafka's log.dir; here a folder has to be named
_CASELESS: Final = ("group.consumer.migration.policy", "sasl.oauthbearer.assertion.algorithm")


class Treatment(enum.StrEnum):
    """What becomes of a value."""

    HONOURED = "honoured"
    WITHOUT_EFFECT = "no effect"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """One configuration. ``default`` None is Kafka's null, or none at all. ``text`` is its meaning, or why it has none.

    ``mode`` is how it can be changed in Kafka: ``read-only``, ``per-broker`` or ``cluster-wide``.
    """

    name: str
    type: ConfigType
    default: str | None
    check: Check
    mode: str
    treatment: Treatment
    text: str

    @property
    def is_sensitive(self) -> bool:
        return self.type is ConfigType.PASSWORD

    @property
    def is_internal(self) -> bool:
        """Not shown by DescribeConfigs."""
        return self.mode == "internal"

    def parse(self, text: str) -> Value:
        """The value of a text; ``ValueError`` with the reason if it has none."""
        value = self.type.parse(text)
        self.check(value.upper() if self.name in _CASELESS and isinstance(value, str) else value)
        return value


def _rows() -> Iterator[list[str]]:
    # By its path: ``importlib.resources`` imports what reads archives, 4% of the time of a start.
    text = Path(__file__).with_name("kafka-4.3.txt").read_text(encoding="ascii")
    return (line.split("|") for line in text.splitlines() if not line.startswith("#"))


def _check_of(valid: str, type_: ConfigType) -> Check:
    low, dots, high = valid.partition("..")
    if valid.endswith("or -1"):
        return gzip_level
    if dots:
        if "." in high:
            return anything  # an internal one
        return between(int(low), int(high)) if high else at_least(int(low))
    if valid:
        return (some_of if type_ is ConfigType.LIST else one_of)(*valid.split(","))
    return anything


def _fields() -> dict[str, Any]:
    return {field.name.replace("_", "."): field.default for holder in HOLDERS for field in fields(holder)}


def _text_of(default: object) -> str | None:
    match default:
        case None:
            return None
        case bool():
            return "true" if default else "false"
        case tuple():
            return ",".join(map(str, default))
    return str(default)


def _topics_defaults() -> dict[str, tuple[str, bool]]:
    """By the broker's name: what the topic's own configuration means, and whether topics honour it."""
    honoured = {field.name.replace("_", ".") for field in fields(TopicConfig)}
    return {
        synonym.name: (f"Of topics, {row.name}: {row.documentation}", row.name in honoured)
        for row in TOPIC_DEFINITIONS.values()
        for synonym in row.synonyms
    }


def _read() -> Iterator[BrokerConfig]:
    ours, of_topics = _fields(), _topics_defaults()
    for name, type_name, default, valid, mode in _rows():
        type_ = ConfigType[type_name.upper()]
        holds = _text_of(ours[name]) if name in ours else None if default in ("null", _NO_DEFAULT) else default
        if name.endswith((".replication.factor", ".min.isr")):
            holds = "1"  # there is one node
        if name in MEANINGS and (name in ours or name in READ_APART):
            treatment, text = Treatment.HONOURED, MEANINGS[name]
        elif name in of_topics and of_topics[name][1]:
            treatment, text = Treatment.HONOURED, of_topics[name][0]
        elif (taken := only(name)) is not None:
            treatment, text = Treatment.REFUSED, taken.reason
        else:
            treatment, text = Treatment.WITHOUT_EFFECT, reason_without_effect(name)
        yield BrokerConfig(name, type_, holds, _check_of(valid, type_), mode, treatment, text)


class _AtFirstLook(Mapping[str, BrokerConfig]):
    """The table, read when somebody looks at it: a start without configurations need not."""

    @cached_property
    def _rows(self) -> dict[str, BrokerConfig]:
        return {row.name: row for row in _read()}

    def __getitem__(self, name: str) -> BrokerConfig:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


DEFINITIONS: Final[Mapping[str, BrokerConfig]] = _AtFirstLook()
"""By name."""
