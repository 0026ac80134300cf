"""A store as a step's function sees it: a mapping from keys to values, of the partition that its record is in.

Owns: ``StateView``. Must not know: transactions, Kafka, files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar, overload

from tallystick.pipeline.state.layers import Layers, end_of
from tallystick.pipeline.state.store import K, Store, V

D = TypeVar("D")


class StateView(Generic[K, V]):
    """Reads what is committed and what this transaction changed; writes become part of the transaction.

    It is of use while the function runs, and for the keys of the record's partition: a key whose records go to
    another partition has its entry there. Values are decoded anew by each read: a value that was changed in place
    has to be set again.
    """

    __slots__ = ("_decode", "_encode", "_encode_key", "_layers", "_store")

    def __init__(self, store: Store[K, V], layers: Layers) -> None:
        self._store = store
        self._layers = layers
        self._encode_key = store.encode_key
        self._encode = store.encode
        self._decode = store.decode

    def __getitem__(self, key: K) -> V:
        raw = self._layers.get(self._encode_key(key))
        if raw is None:
            raise KeyError(key)
        return self._decode(raw)

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: D) -> V | D: ...
    def get(self, key: K, default: Any = None) -> Any:
        raw = self._layers.get(self._encode_key(key))
        return default if raw is None else self._decode(raw)

    def __setitem__(self, key: K, value: V) -> None:
        self._layers.set(self._encode_key(key), self._encode(value))

    def __delitem__(self, key: K) -> None:
        raw_key = self._encode_key(key)
        if self._layers.get(raw_key) is None:
            raise KeyError(key)
        self._layers.set(raw_key, None)

    def __contains__(self, key: K) -> bool:
        return self._layers.get(self._encode_key(key)) is not None

    def pop(self, key: K, default: D) -> V | D:
        """The value, and the entry is gone; ``default`` if there was none."""
        raw_key = self._encode_key(key)
        raw = self._layers.get(raw_key)
        if raw is None:
            return default
        self._layers.set(raw_key, None)
        return self._decode(raw)

    def items(self, prefix: K | None = None, *, start: K | None = None, end: K | None = None) -> Iterator[tuple[K, V]]:
        """Entries of this partition in the order of their keys, as of this call.

        ``prefix``, for keys of text or bytes, takes those that begin with it; else from ``start`` up to and without
        ``end``. It costs what lies in the range, and a look at all that the open transaction changed.
        """
        if prefix is not None:
            if self._store.key is int:
                raise TypeError("whole numbers have no prefix: use start and end")
            first = self._encode_key(prefix)
            last = end_of(first)
        else:
            first = b"" if start is None else self._encode_key(start)
            last = None if end is None else self._encode_key(end)
        decode_key, decode = self._store.decode_key, self._decode
        return ((decode_key(key), decode(raw)) for key, raw in self._layers.scan(first, last))

    def __repr__(self) -> str:
        return f"StateView({self._store.name!r})"
