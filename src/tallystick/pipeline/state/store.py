"""A store as an application declares it: a name, what its keys and values are, and how those become bytes.

Owns: ``Store``, its codecs, the version of its values. Must not know: where state lies, transactions, Kafka.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from tallystick.errors import ConfigurationError

K = TypeVar("K")
V = TypeVar("V")

_LEGAL_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_VERSION: Final = 255
_VERSION_MARK: Final = b"\x00"
"""Opens a stored value whose version is not 1, and one that begins with this byte by itself. Frozen."""
_SIGN: Final = 1 << 63


class UnreadableState(ConfigurationError):
    """A stored value cannot be read by the code that runs now: nobody may guess what it was, so the step stops."""


class Store(Generic[K, V]):
    """Keyed state of a step: one entry for each key, kept in the partition that the key's records are in.

    ``key`` is ``str``, ``bytes`` or ``int`` (64 bits, signed); keys iterate in their own order. ``value`` is any type
    that msgspec knows, kept as JSON, or ``bytes``, kept as they are.

    ``version`` is that of the value's type, from 1 to 255; raise it when stored values of before have to be
    rewritten. ``upgrade(raw, version)`` makes a value of today from the bytes of an older version, and from bytes of
    this version that the type cannot read. Without it such a value stops the step with ``UnreadableState``.
    """

    __slots__ = (
        "_decoder",
        "_encoder",
        "_mark",
        "_upgrade",
        "decode_key",
        "encode_key",
        "key",
        "name",
        "value",
        "version",
    )

    timed = False
    """Whether each stored value begins with eight bytes of time, by which entries are found when they are due."""

    def __init__(
        self,
        name: str,
        *,
        key: type[K],
        value: type[V],
        version: int = 1,
        upgrade: Callable[[bytes, int], V] | None = None,
    ) -> None:
        if not _LEGAL_NAME.fullmatch(name):
            raise ConfigurationError(f"store {name!r} is not 1 to 64 characters of letters, digits, '_' and '-'")
        if not 1 <= version <= _MAX_VERSION:
            raise ConfigurationError(f"store {name!r}: version {version} is not in 1 to {_MAX_VERSION}")
        if version > 1 and upgrade is None:
            raise ConfigurationError(
                f"store {name!r} has version {version} and no upgrade",
                remedy="Give upgrade=function(raw, version), which makes a value of today from an older one",
            )
        self.name = name
        self.key = key
        self.value = value
        self.version = version
        self._upgrade = upgrade
        codec = key_codec(key, name)
        self.encode_key: Callable[[K], bytes] = codec[0]
        self.decode_key: Callable[[bytes], K] = codec[1]
        raw = value is bytes
        self._encoder: msgspec.json.Encoder | None = None if raw else msgspec.json.Encoder(decimal_format="string")
        self._decoder: msgspec.json.Decoder[Any] | None = None if raw else msgspec.json.Decoder(value)
        self._mark = _VERSION_MARK + bytes([version]) if version > 1 else b""

    def encode(self, value: V) -> bytes:
        """The stored bytes of a value; ``TypeError`` if it has none."""
        if self._encoder is not None:
            return self._mark + self._encoder.encode(value) if self._mark else self._encoder.encode(value)
        if not isinstance(value, bytes):
            raise TypeError(f"store {self.name!r} keeps bytes, not {type(value).__name__}")
        if self._mark:
            return self._mark + value
        return _VERSION_MARK + b"\x01" + value if value[:1] == _VERSION_MARK else value

    def decode(self, raw: bytes) -> V:
        """The value in stored bytes, made new by ``upgrade`` if it is older; ``UnreadableState`` if it cannot be."""
        if self.version == 1 and self._decoder is not None:
            try:
                return cast("V", self._decoder.decode(raw))  # whatever has a mark is no JSON
            except msgspec.DecodeError as error:
                return self._marked(raw, error)
        return self._marked(raw, None)

    def _marked(self, raw: bytes, tried: Exception | None) -> V:
        version = 1
        if raw[:1] == _VERSION_MARK:
            version, raw = raw[1], raw[2:]
        if version != self.version or tried is not None:
            return self._upgraded(raw, version, tried)
        if self._decoder is None:
            return cast("V", raw)
        try:
            return cast("V", self._decoder.decode(raw))
        except msgspec.DecodeError as error:
            return self._upgraded(raw, version, error)

    def _upgraded(self, raw: bytes, version: int, cause: Exception | None) -> V:
        if version > self.version:
            raise UnreadableState(
                f"store {self.name!r} holds a value of version {version}, and this code knows up to {self.version}",
                remedy="Run the newer code again: it was here before",
            )
        if self._upgrade is None:
            raise UnreadableState(
                f"store {self.name!r} holds a value that {_name(self.value)} cannot read: {cause}",
                remedy="Give Store(upgrade=function(raw, version)), which makes a value of today from it",
            ) from cause
        try:
            return self._upgrade(raw, version)
        except (ValueError, TypeError, LookupError) as error:  # msgspec's are ValueErrors
            raise UnreadableState(
                f"the upgrade of store {self.name!r} cannot read a value of version {version}: {error!r}",
                remedy="Correct the upgrade and start again: nothing was changed",
            ) from error

    def __repr__(self) -> str:
        return f"Store({self.name!r}, key={_name(self.key)}, value={_name(self.value)})"


AnyStore = Store[Any, Any]


def key_codec(key: type[K], owner: str) -> tuple[Callable[[K], bytes], Callable[[bytes], K]]:
    """How keys become bytes that sort as the keys do, and back; ``ConfigurationError`` for another type of key."""
    codec = _KEY_CODECS.get(key)
    if codec is None:
        raise ConfigurationError(f"{owner!r}: keys are str, bytes or int, not {_name(key)}")
    return codec


def _encode_int(key: int) -> bytes:
    return (key + _SIGN).to_bytes(8, "big")


def _decode_int(raw: bytes) -> int:
    return int.from_bytes(raw, "big") - _SIGN


def _encode_bytes(key: bytes) -> bytes:
    if not isinstance(key, bytes):
        raise TypeError(f"a key of bytes, not {type(key).__name__}")
    return key


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind))


_KEY_CODECS: Final[dict[Any, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]]] = {
    str: (str.encode, bytes.decode),
    bytes: (_encode_bytes, bytes),
    int: (_encode_int, _decode_int),
}
