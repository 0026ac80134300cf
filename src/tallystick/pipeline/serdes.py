"""How a topic's values become bytes, and bytes values.

Owns: the ``Serde`` port, JSON, text and bytes, and ``DecodeError``. Must not know: topics' records, consumers, what the
values mean. Serdes over a schema registry are in ``registry``.
"""

from __future__ import annotations

import re
from typing import Any, Final, Protocol, TypeVar, cast, runtime_checkable

import msgspec

T = TypeVar("T")


@runtime_checkable
class Serde(Protocol[T]):
    """Values of one type as bytes.

    ``decode`` gets bytes, never None. Whatever it raises makes the record a poison record, because the same bytes fail
    again; except the errors of ``tallystick.errors``, which say what the caller does: ``RetriableError`` when
    something that it needs is away.
    """

    def encode(self, value: T, /) -> bytes: ...

    def decode(self, raw: bytes, /) -> T: ...


@runtime_checkable
class SerdeOfTopics(Protocol):
    """A serde that depends on the topic's name, as those over a schema registry do."""

    def of_topic(self, topic: str) -> Serde[Any]: ...


class DecodeError(ValueError):
    """A record's value is not of its topic's type. The same bytes fail again: no retry helps.

    ``path`` is the place inside the value, such as ``$.items[3].price``, None if it is not known; ``place`` is the
    record's ``topic-partition@offset``, None where it is not known.
    """

    def __init__(self, topic: str, reason: str, *, path: str | None = None, place: str | None = None) -> None:
        self.topic = topic
        self.reason = reason
        self.path = path
        self.place = place
        super().__init__(f"{place or topic}: {reason}")

    def at(self, place: str) -> DecodeError:
        """The same with the record's place."""
        located = DecodeError(self.topic, self.reason, path=self.path, place=place)
        located.__cause__ = self.__cause__
        return located


class Json:
    """JSON of a ``msgspec.Struct``, a dataclass, or any type that msgspec knows. A decimal travels as text."""

    __slots__ = ("decode", "encode")

    def __init__(self, kind: Any) -> None:
        self.encode = msgspec.json.Encoder(decimal_format="string").encode
        self.decode = msgspec.json.Decoder(kind).decode


class PydanticJson:
    """JSON of a pydantic model, or of any type that ``pydantic.TypeAdapter`` takes."""

    __slots__ = ("decode", "encode")

    def __init__(self, kind: Any) -> None:
        from pydantic import TypeAdapter

        adapter = TypeAdapter(kind)
        self.encode = adapter.dump_json
        self.decode = adapter.validate_json


class Text:
    """UTF-8, as Kafka's StringSerializer writes it."""

    @staticmethod
    def encode(value: str) -> bytes:
        return value.encode()

    @staticmethod
    def decode(raw: bytes) -> str:
        return raw.decode()


class Raw:
    """Bytes as they are."""

    @staticmethod
    def encode(value: bytes) -> bytes:
        return value

    @staticmethod
    def decode(raw: bytes) -> bytes:
        return raw


def serde_of(kind: Any) -> Serde[Any]:
    """What a topic uses unless it is told: bytes as they are, text as UTF-8, everything else JSON."""
    if kind is bytes:
        return cast("Serde[Any]", Raw())
    if kind is str:
        return cast("Serde[Any]", Text())
    if hasattr(kind, "__pydantic_validator__"):
        return cast("Serde[Any]", PydanticJson(kind))
    return cast("Serde[Any]", Json(kind))


_MSGSPEC_PATH: Final = re.compile(r" - at `(\$.*)`$")


def path_in(error: BaseException | None) -> str | None:
    """The place inside the value that a decoder's error, or what caused it, names."""
    while error is not None:
        path = _path_in_one(error)
        if path is not None:
            return path
        error = error.__cause__ or error.__context__
    return None


def _path_in_one(error: BaseException) -> str | None:
    if isinstance(error, msgspec.ValidationError):
        found = _MSGSPEC_PATH.search(str(error))
        return found.group(1) if found else "$"
    errors = getattr(error, "errors", None)
    if callable(errors) and type(error).__module__.startswith("pydantic"):
        return "$" + "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in errors()[0]["loc"])
    path = getattr(error, "json_path", None)  # of jsonschema's errors
    return path if isinstance(path, str) else None
