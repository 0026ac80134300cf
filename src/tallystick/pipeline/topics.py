"""Typed topics: a name, the type of its values, and how those become bytes.

Owns: ``Topic`` and its JSON encoding. Must not know: consumers, producers, what the values mean.
"""

from __future__ import annotations

import re
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from tallystick.errors import ConfigurationError

T = TypeVar("T")

_LEGAL_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


class DecodeError(ValueError):
    """A record's value is no valid JSON of the topic's type. The same bytes fail again: no retry helps."""


class Topic(Generic[T]):
    """A Kafka topic whose values are ``value``: a ``msgspec.Struct``, a dataclass, any type msgspec knows, or bytes.

    ``partitions`` is the number of partitions the topic is created with if it does not exist; ``None`` leaves that
    to the broker. A topic that exists with another number is refused at start. Values are JSON, except that
    ``bytes`` pass through as they are.
    """

    __slots__ = ("_decoder", "_encoder", "name", "partitions", "value")

    def __init__(self, name: str, value: type[T], partitions: int | None = None) -> None:
        if not _LEGAL_NAME.fullmatch(name) or name in {".", ".."}:
            raise ConfigurationError(f"topic {name!r} is not 1 to 249 characters of letters, digits, '.', '_' and '-'")
        if partitions is not None and partitions < 1:
            raise ConfigurationError(f"topic {name!r}: {partitions} partitions")
        self.name = name
        self.value = value
        self.partitions = partitions
        raw = value is bytes
        self._encoder: msgspec.json.Encoder | None = None if raw else msgspec.json.Encoder(decimal_format="string")
        self._decoder: msgspec.json.Decoder[Any] | None = None if raw else msgspec.json.Decoder(value)

    def encode(self, value: T) -> bytes:
        """The bytes of a value; ``TypeError`` if msgspec cannot encode it."""
        if self._encoder is None:
            return cast("bytes", value)
        return self._encoder.encode(value)

    def decode(self, raw: bytes | None) -> T:
        """The value in a record's bytes; ``DecodeError`` names the topic, and the place inside the value."""
        if raw is None:
            raise DecodeError(f"{self.name}: a record without a value (tombstone)")
        if self._decoder is None:
            return cast("T", raw)
        try:
            return cast("T", self._decoder.decode(raw))
        except msgspec.DecodeError as error:  # covers ValidationError
            raise DecodeError(f"{self.name}: {error}") from error

    def __repr__(self) -> str:
        return f"Topic({self.name!r}, {getattr(self.value, '__name__', self.value)})"
