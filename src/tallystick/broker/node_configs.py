"""The node's configurations while it runs: what holds, and what may be changed (KIP-226).

Owns: the checks of a change, and the settings that follow one. Must not know: the protocol's messages, who asks.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import structlog

from tallystick.broker.broker_configs import DEFINITIONS, Given, Layers, Treatment, fields_of, read
from tallystick.broker.dynamic_configs import EVERY_BROKER, DynamicConfigs
from tallystick.broker.security.settings import ConnectionSettings
from tallystick.broker.topic_configs import DEFINITIONS as TOPIC_DEFINITIONS
from tallystick.broker.topic_configs import BrokerDefault
from tallystick.broker.transactions.settings import TransactionSettings
from tallystick.errors import ConfigurationError
from tallystick.wire.errors import ApiError, ErrorCode

logger = structlog.get_logger(__name__)

_OF_TOPICS: Final = {synonym.name for row in TOPIC_DEFINITIONS.values() for synonym in row.synonyms}
_OF_THE_NODE: Final = {
    "max.connections",
    "max.connections.per.ip",
    "max.connections.per.ip.overrides",
    "producer.id.expiration.ms",
}
_READ_ONLY: Final = ("read-only", "internal")


class NodeConfigs:
    """``static`` are those given at start, by Kafka's names; ``connections`` and ``transactions`` what they said.

    Afterwards these two are what holds now.
    """

    def __init__(
        self,
        static: Mapping[str, str],
        dynamic: DynamicConfigs,
        *,
        node_id: int,
        connections: ConnectionSettings,
        transactions: TransactionSettings,
    ) -> None:
        self._static = static
        self._dynamic = dynamic
        self._own = str(node_id)
        self._at_start = connections, transactions
        self.connections = connections
        self.transactions = transactions
        self._let_hold()

    @property
    def layers(self) -> Layers:
        """What holds, layer by layer."""
        return self._layers(self._dynamic.of(EVERY_BROKER), self._dynamic.of(self._own))

    def _layers(self, every_broker: Mapping[str, str], own: Mapping[str, str]) -> Layers:
        return Layers(static=self._static, every_broker=every_broker, own=own)

    def given_to(self, broker: str) -> Mapping[str, str]:
        """The dynamic configurations of this broker, or of every broker (``EVERY_BROKER``)."""
        return self._dynamic.of(broker)

    def change(self, broker: str, configs: Mapping[str, str], *, validate_only: bool) -> None:
        """Let these be all dynamic ones of the broker. ``ApiError`` INVALID_REQUEST for one that cannot be."""
        present = self._dynamic.of(broker)
        changed = {name for name in present.keys() | configs.keys() if present.get(name) != configs.get(name)}
        for name in sorted(changed):
            _check_dynamic(name, every_broker=broker == EVERY_BROKER)
        checked = dict(configs) | {name: _normal(name, configs[name]) for name in changed if name in configs}
        try:
            (self._layers(checked, {}) if broker == EVERY_BROKER else self._layers({}, checked)).topic_defaults()
        except ApiError as error:
            raise ApiError(ErrorCode.invalid_request, error.message) from None
        if not validate_only:
            self._dynamic.change(broker, checked)
            self._let_hold()

    # What follows

    def topic_defaults(self) -> dict[str, BrokerDefault]:
        """What holds for topics that say nothing themselves.

        What an older program kept and this one does not take is left aside: it must not keep the node from starting.
        """
        try:
            return self.layers.topic_defaults()
        except ApiError as error:
            logger.warning("dynamic configurations are left aside", reason=error.message)
            return self._layers({}, {}).topic_defaults()

    def _let_hold(self) -> None:
        connections, transactions = self._at_start
        self.connections = replace(connections, **self._changed(ConnectionSettings))
        self.transactions = replace(transactions, **self._changed(TransactionSettings))

    def _changed(self, of: type[Any]) -> dict[str, Any]:
        given = {**self._dynamic.of(EVERY_BROKER), **self._dynamic.of(self._own)}
        values = {name: DEFINITIONS[name].parse(text) for name, text in given.items() if name in _OF_THE_NODE}
        return fields_of(of, values)


def _check_dynamic(name: str, *, every_broker: bool) -> None:
    definition = DEFINITIONS.get(name)
    if definition is None:
        near = difflib.get_close_matches(name, DEFINITIONS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ApiError(ErrorCode.invalid_request, f"Unknown broker config name: {name}{hint}")
    if definition.mode in _READ_ONLY:
        raise ApiError(ErrorCode.invalid_request, f"Cannot update these configs dynamically: [{name}]")
    if every_broker and definition.mode == "per-broker":
        raise ApiError(
            ErrorCode.invalid_request,
            f"Cannot update these configs at default cluster level, broker id must be specified: [{name}]",
        )
    if definition.treatment is not Treatment.WITHOUT_EFFECT and name not in _OF_TOPICS | _OF_THE_NODE:
        raise ApiError(ErrorCode.invalid_request, f"{name} takes effect at a start only: put it into the broker's file")


def _normal(name: str, text: str) -> str:
    try:
        return read({name: Given(name, text, "")}).values[name]
    except ConfigurationError as error:
        raise ApiError(
            ErrorCode.invalid_request, f"Invalid value for configuration {name}: {str(error).lstrip(': ')}"
        ) from None
