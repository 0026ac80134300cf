"""The types of configuration values: text to value, and value to the text that Kafka shows.

Owns: parsing and rendering as Apache Kafka's ``ConfigDef`` does it. Must not know: which configuration has which type.
"""

from __future__ import annotations

import enum
import re
from typing import Final

Value = bool | int | float | str | tuple[str, ...]

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_JAVA_DOUBLE: Final = re.compile(r"[+-]?(NaN|Infinity|([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[fFdD]?)")
_BITS: Final = {"INT": 32, "LONG": 64, "SHORT": 16}


class ConfigType(enum.IntEnum):
    """The numbers are those of DescribeConfigs (KIP-569)."""

    BOOLEAN = 1
    STRING = 2
    INT = 3
    SHORT = 4
    LONG = 5
    DOUBLE = 6
    LIST = 7
    CLASS = 8
    PASSWORD = 9

    def parse(self, text: str) -> Value:
        """The value that a text stands for; ``ValueError`` with the reason if it stands for none."""
        text = text.strip()
        match self:
            case ConfigType.BOOLEAN:
                return _boolean(text)
            case ConfigType.STRING | ConfigType.CLASS | ConfigType.PASSWORD:
                return text
            case ConfigType.DOUBLE:
                return _double(text)
            case ConfigType.LIST:
                return tuple(part.strip() for part in text.split(",")) if text else ()
        return _integer(text, self.name)

    def render(self, value: Value) -> str:
        """The text that Kafka shows for a value."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, tuple):
            return ",".join(value)
        return "NaN" if value != value else str(value)


def _boolean(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError("Expected value to be either true or false")
    return text.lower() == "true"


def _integer(text: str, type_name: str) -> int:
    value = int(text) if _INTEGER.fullmatch(text) and text.isascii() else None
    half = 1 << (_BITS[type_name] - 1)
    if value is None or not -half <= value < half:
        raise ValueError(f"Not a number of type {type_name}")
    return value


def _double(text: str) -> float:
    if not _JAVA_DOUBLE.fullmatch(text):
        raise ValueError("Not a number of type DOUBLE")
    return float(text.rstrip("fFdD") if text[-1:].lower() in {"f", "d"} else text)
