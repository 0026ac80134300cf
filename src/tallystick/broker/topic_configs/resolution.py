"""What holds for a topic: its own settings before the broker's, and those before Kafka's defaults.

Owns: the order of sources, and the checks of a whole set. Must not know: topics, journals.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Final

import structlog

from tallystick.broker.topic_configs.definitions import DEFINITIONS, BrokerSynonym, ConfigDefinition, definition_of
from tallystick.broker.topic_configs.topic_config import TopicConfig
from tallystick.wire.errors import ApiError, ErrorCode

logger = structlog.get_logger(__name__)


class ConfigSource(enum.IntEnum):
    """Where a value comes from. The numbers are those of DescribeConfigs (KIP-226)."""

    DYNAMIC_TOPIC_CONFIG = 1
    DYNAMIC_BROKER_CONFIG = 2
    DYNAMIC_DEFAULT_BROKER_CONFIG = 3
    STATIC_BROKER_CONFIG = 4
    DEFAULT_CONFIG = 5


_ALL_STATIC: Final[Mapping[str, ConfigSource]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class BrokerDefault:
    """What the broker's own configuration says for all topics that say nothing themselves."""

    value: str
    source: ConfigSource = ConfigSource.STATIC_BROKER_CONFIG


@dataclass(frozen=True, slots=True)
class Effective:
    """What holds, as text, and where it comes from."""

    value: str
    source: ConfigSource


def effective(overrides: Mapping[str, str], defaults: Mapping[str, BrokerDefault]) -> dict[str, Effective]:
    """Every public configuration of a topic with these settings, under these broker defaults, sorted by name."""
    return {row.name: _effective(row.name, overrides, defaults) for row in DEFINITIONS.values() if not row.internal}


def _effective(name: str, overrides: Mapping[str, str], defaults: Mapping[str, BrokerDefault]) -> Effective:
    own = overrides.get(name)
    if own is not None:
        return Effective(own, ConfigSource.DYNAMIC_TOPIC_CONFIG)
    given = defaults.get(name)
    if given is not None:
        return Effective(given.value, given.source)
    return Effective(DEFINITIONS[name].default, ConfigSource.DEFAULT_CONFIG)


def resolve(overrides: Mapping[str, str], defaults: Mapping[str, BrokerDefault]) -> TopicConfig:
    """The typed values. Settings that are not known (of a newer version's journal) are left out, and logged."""
    values: dict[str, Any] = {}
    for field in fields(TopicConfig):
        name = field.name.replace("_", ".")
        definition = DEFINITIONS[name]
        # The bounds were checked when the value was set; a broker's own default may lie below them, in tests.
        values[field.name] = definition.type.parse(_effective(name, overrides, defaults).value)
    unknown = sorted(overrides.keys() - DEFINITIONS.keys())
    if unknown:
        logger.warning("topic settings of a journal are not known here, and have no effect", names=unknown)
    return TopicConfig(**values)


def check_overrides(
    overrides: Mapping[str, str | None], defaults: Mapping[str, BrokerDefault] | None = None
) -> dict[str, str]:
    """All settings of one topic in their normal form; ``ApiError`` INVALID_CONFIG with the first that is wrong."""
    checked = {name: definition_of(name).normal(value) for name, value in overrides.items()}
    config = resolve(checked, defaults or {})
    if config.min_compaction_lag_ms > config.max_compaction_lag_ms:
        raise ApiError(
            ErrorCode.invalid_config,
            f"conflict topic config setting min.compaction.lag.ms ({config.min_compaction_lag_ms}) > "
            f"max.compaction.lag.ms ({config.max_compaction_lag_ms})",
        )
    return checked


def defaults_from_broker(
    configs: Mapping[str, str], sources: Mapping[str, ConfigSource] = _ALL_STATIC
) -> dict[str, BrokerDefault]:
    """The defaults for topics that broker configurations by Kafka's names give; others are left alone.

    ``sources`` are those of configurations that do not stand in the broker's file.
    Of ``log.retention.ms``, ``.minutes`` and ``.hours`` the first that is set counts, as in Apache Kafka. ``ApiError``
    INVALID_CONFIG under the broker's name for a value that no topic could have.
    """
    found: dict[str, BrokerDefault] = {}
    for definition in DEFINITIONS.values():
        given = next((synonym for synonym in definition.synonyms if synonym.name in configs), None)
        if given is not None:
            found[definition.name] = BrokerDefault(
                _default_from(definition, given, configs[given.name]),
                sources.get(given.name, ConfigSource.STATIC_BROKER_CONFIG),
            )
    return found


def _default_from(definition: ConfigDefinition, synonym: BrokerSynonym, text: str) -> str:
    try:
        value = definition.type.parse(text)
        if isinstance(value, int) and value > 0:  # hours=-1 means what ms=-1 does
            value *= synonym.factor
        definition.check(value)
    except ValueError as error:
        raise ApiError(
            ErrorCode.invalid_config, f"Invalid value {text} for configuration {synonym.name}: {error}"
        ) from None
    return definition.type.render(value)
