"""Whose client reads a file of settings, and what that client takes for what is not in it.

Owns: the defaults that matter, by client. Sources: librdkafka's CONFIGURATION.md (2.x), Apache Kafka's client
configurations (4.x). Must not know: what is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Flavour(Enum):
    """The value is the word on the command line."""

    LIBRDKAFKA = "librdkafka"
    JAVA = "java"


_JAVA_SIGNS: Final = ("serializer", "deserializer", ".class", "processing.guarantee", "application.id", "jaas")
CONSUMER_DEFAULTS: Final[dict[Flavour, dict[str, str]]] = {
    Flavour.LIBRDKAFKA: {
        "enable.auto.commit": "true",
        "isolation.level": "read_committed",
        "auto.offset.reset": "largest",
        "session.timeout.ms": "45000",
        "max.poll.interval.ms": "300000",
        "group.protocol": "classic",
    },
    Flavour.JAVA: {
        "enable.auto.commit": "true",
        "isolation.level": "read_uncommitted",
        "auto.offset.reset": "latest",
        "session.timeout.ms": "45000",
        "max.poll.interval.ms": "300000",
        "group.protocol": "classic",
    },
}
PRODUCER_DEFAULTS: Final[dict[Flavour, dict[str, str]]] = {
    Flavour.LIBRDKAFKA: {
        "enable.idempotence": "false",
        "acks": "all",
        "transaction.timeout.ms": "60000",
        "max.in.flight.requests.per.connection": "1000000",
        "retries": "2147483647",
        "partitioner": "consistent_random",
    },
    Flavour.JAVA: {
        "enable.idempotence": "true",
        "acks": "all",
        "transaction.timeout.ms": "60000",
        "max.in.flight.requests.per.connection": "5",
        "retries": "2147483647",
        "partitioner": "murmur2_random",
    },
}
_ALIASES: Final = {
    "request.required.acks": "acks",
    "max.in.flight": "max.in.flight.requests.per.connection",
    "message.send.max.retries": "retries",
    "auto.commit.enable": "enable.auto.commit",
    "metadata.broker.list": "bootstrap.servers",
}


def canonical(settings: Mapping[str, str]) -> dict[str, str]:
    """librdkafka's second names under their first ones, values in lower case where case says nothing."""
    found = {_ALIASES.get(name, name): value.strip() for name, value in settings.items()}
    for name in ("enable.auto.commit", "isolation.level", "auto.offset.reset", "enable.idempotence", "group.protocol"):
        if name in found:
            found[name] = found[name].lower()
    if found.get("acks") == "-1":
        found["acks"] = "all"
    return found


def flavour_of(settings: Mapping[str, str]) -> Flavour:
    """By what only one of them knows; librdkafka's where nothing says otherwise."""
    if any(sign in name for name in settings for sign in _JAVA_SIGNS):
        return Flavour.JAVA
    return Flavour.LIBRDKAFKA
