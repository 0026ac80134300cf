"""Broker configurations under Apache Kafka's names: which there are, and what the broker is told by those given.

Owns: the names, reading them from a file and from ``--set``, and the settings they make. Must not know: who honours a
setting; what a node does.
"""

from tallystick.broker.broker_configs.definitions import DEFINITIONS, BrokerConfig, Treatment
from tallystick.broker.broker_configs.given import Given, collect
from tallystick.broker.broker_configs.layers import Layered, Layers
from tallystick.broker.broker_configs.reading import BrokerConfigs, Note, fields_of, read

__all__ = [
    "DEFINITIONS",
    "BrokerConfig",
    "BrokerConfigs",
    "Given",
    "Layered",
    "Layers",
    "Note",
    "Treatment",
    "collect",
    "fields_of",
    "read",
]
