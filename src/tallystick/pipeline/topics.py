"""Typed topics: a name, the type of its values, and how those become bytes.

Owns: ``Topic``. Must not know: consumers, producers, what the values mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from tallystick.errors import ConfigurationError, TallystickError
from tallystick.pipeline.serdes import DecodeError, Serde, SerdeOfTopics, path_in, serde_of

__all__ = ["DecodeError", "Topic"]

T = TypeVar("T")

_LEGAL_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


class Topic(Generic[T]):
    """A Kafka topic whose values are ``value``.

    That is a ``msgspec.Struct``, a dataclass, a pydantic model, or any other type that msgspec knows (``Any`` for
    whatever JSON holds): these travel as JSON. ``bytes`` pass as they are, ``str`` is UTF-8. ``serde`` replaces that:
    one of your own, or one over a schema registry.

    ``partitions`` is the number of partitions the topic is created with if it does not exist; ``None`` leaves that
    to the broker. A topic that exists with another number is refused at start.
    """

    __slots__ = ("decode_bytes", "encode", "name", "partitions", "value")

    def __init__(
        self,
        name: str,
        value: type[T],
        partitions: int | None = None,
        *,
        serde: Serde[T] | SerdeOfTopics | None = None,
    ) -> None:
        if not _LEGAL_NAME.fullmatch(name) or name in {".", ".."}:
            raise ConfigurationError(f"topic {name!r} is not 1 to 249 characters of letters, digits, '.', '_' and '-'")
        if partitions is not None and partitions < 1:
            raise ConfigurationError(f"topic {name!r}: {partitions} partitions")
        self.name = name
        self.value = value
        self.partitions = partitions
        own = _serde(name, value, serde)
        self.encode: Callable[[T], bytes] = own.encode
        """The bytes of a value; raises what its serde raises for a value of another type."""
        self.decode_bytes: Callable[[bytes], T] = own.decode
        """As the serde does it: for those who tell its errors apart themselves."""

    def decode(self, raw: bytes | None) -> T:
        """The value in a record's bytes; ``DecodeError`` names the topic, and the place inside the value."""
        if raw is None:
            raise DecodeError(self.name, "a record without a value (tombstone)")
        try:
            return self.decode_bytes(raw)
        except TallystickError:
            raise  # ours say what the caller does
        except Exception as error:
            raise DecodeError(self.name, str(error), path=path_in(error)) from error

    def __repr__(self) -> str:
        return f"Topic({self.name!r}, {getattr(self.value, '__name__', self.value)})"


def _serde(topic: str, value: Any, given: Serde[T] | SerdeOfTopics | None) -> Serde[T]:
    if given is None:
        return serde_of(value)
    return given.of_topic(topic) if isinstance(given, SerdeOfTopics) else given
