"""What holds for the broker: its own dynamic configurations, those of every broker, the static ones, the defaults.

Owns: the order of these layers, and what they give topics. Must not know: where a layer is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tallystick.broker.broker_configs.definitions import DEFINITIONS
from tallystick.broker.topic_configs import (
    BrokerDefault,
    ConfigDefinition,
    ConfigSource,
    defaults_from_broker,
)


@dataclass(frozen=True, slots=True)
class Layered:
    """One value of a configuration and the layer that it stands in."""

    name: str
    value: str
    source: ConfigSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The layers that were given, by name and text."""

    static: Mapping[str, str]
    every_broker: Mapping[str, str]
    own: Mapping[str, str]

    def _in_order(self) -> Iterator[tuple[ConfigSource, Mapping[str, str]]]:
        yield ConfigSource.DYNAMIC_BROKER_CONFIG, self.own
        yield ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG, self.every_broker
        yield ConfigSource.STATIC_BROKER_CONFIG, self.static

    def of(self, name: str) -> tuple[Layered, ...]:
        """All values of a broker configuration; the first one holds, and there is none if Kafka's is null."""
        found = [Layered(name, layer[name], source) for source, layer in self._in_order() if name in layer]
        default = DEFINITIONS[name].default
        if default is not None:
            found.append(Layered(name, default, ConfigSource.DEFAULT_CONFIG))
        return tuple(found)

    def of_topics(self, definition: ConfigDefinition) -> tuple[Layered, ...]:
        """The same for what gives a topic's configuration its default, under the broker's names."""
        found = [
            Layered(synonym.name, layer[synonym.name], source)
            for source, layer in self._in_order()
            for synonym in definition.synonyms
            if synonym.name in layer
        ]
        first = definition.synonyms[0].name if definition.synonyms else ""
        if first and DEFINITIONS[first].default == definition.default:
            found.append(Layered(first, definition.default, ConfigSource.DEFAULT_CONFIG))
        return tuple(found)

    def topic_defaults(self) -> dict[str, BrokerDefault]:
        """What holds for topics that say nothing themselves, where the broker was told so."""
        merged: dict[str, str] = {}
        sources: dict[str, ConfigSource] = {}
        for source, layer in self._in_order():
            for name, value in layer.items():
                if name not in merged:
                    merged[name], sources[name] = value, source
        return defaults_from_broker(merged, sources)
