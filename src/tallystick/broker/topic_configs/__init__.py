"""Topic configurations: Kafka's names, types, bounds and defaults, and what holds for one topic.

Owns: the definitions and their resolution. Must not know: topics, journals, the protocol's messages.
"""

from tallystick.broker.topic_configs.definitions import DEFINITIONS, BrokerSynonym, ConfigDefinition, definition_of
from tallystick.broker.topic_configs.resolution import (
    BrokerDefault,
    ConfigSource,
    Effective,
    check_overrides,
    defaults_from_broker,
    effective,
    resolve,
)
from tallystick.broker.topic_configs.topic_config import TopicConfig
from tallystick.broker.topic_configs.value_types import ConfigType

__all__ = [
    "DEFINITIONS",
    "BrokerDefault",
    "BrokerSynonym",
    "ConfigDefinition",
    "ConfigSource",
    "ConfigType",
    "Effective",
    "TopicConfig",
    "check_overrides",
    "defaults_from_broker",
    "definition_of",
    "effective",
    "resolve",
]
