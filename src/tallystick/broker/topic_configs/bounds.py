"""What a value must keep to, beyond its type, in the words of Apache Kafka's validators.

Owns: the checks. Must not know: which configuration has which.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from tallystick.broker.topic_configs.value_types import Value

Check = Callable[[Value], None]
"""Raises ``ValueError`` with the reason."""

_REPLICA: Final = re.compile(r"[0-9]+:[0-9]+")


def anything(_: Value) -> None:
    """Every value of the type."""


def at_least(low: int) -> Check:
    def check(value: Value) -> None:
        if isinstance(value, int | float) and value < low:
            raise ValueError(f"Value must be at least {low}")

    return check


def between(low: int, high: int) -> Check:
    at_least_low = at_least(low)

    def check(value: Value) -> None:
        at_least_low(value)
        if isinstance(value, int | float) and value > high:
            raise ValueError(f"Value must be no more than {high}")

    return check


def gzip_level(value: Value) -> None:
    if value != -1 and not (isinstance(value, int) and 1 <= value <= 9):
        raise ValueError("Value must be between 1 and 9 or equal to -1")


def one_of(*allowed: str) -> Check:
    def check(value: Value) -> None:
        if value not in allowed:
            raise ValueError(f"String must be one of: {', '.join(allowed)}")

    return check


def some_of(*allowed: str) -> Check:
    def check(value: Value) -> None:
        for part in value if isinstance(value, tuple) else ():
            if not part:
                raise ValueError("values must not be empty")
            if part not in allowed:
                raise ValueError(f"String must be one of: {', '.join(allowed)}")

    return check


def throttled_replicas(value: Value) -> None:
    if value != ("*",) and not all(map(_REPLICA.fullmatch, value if isinstance(value, tuple) else ())):
        raise ValueError("must be the literal '*' or a list of replicas: [partitionId]:[brokerId],...")


def not_tiered(value: Value) -> None:
    if value:
        raise ValueError(
            "Tiered Storage functionality is disabled in the broker. "
            "Topic cannot be configured with remote log storage."
        )
