"""Records to be written, with their ids beside them, so that no object is made for each.

Owns: ``Numbered`` and ``Column``, two ways to keep a sequence of ``Output``, and ``Results``. Must not know:
librdkafka, who made them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from tallystick.ids import EventId
from tallystick.pipeline.ports import Poisoned
from tallystick.pipeline.records import Emit, Output


class _Outputs(Sequence[Output]):
    """An ``Output`` is made when somebody asks for it."""

    __slots__ = ()

    def output(self, index: int) -> Output:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> Output: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Output]: ...
    def __getitem__(self, index: int | slice) -> Output | Sequence[Output]:
        if isinstance(index, slice):
            return [self.output(one) for one in range(*index.indices(len(self)))]
        return self.output(range(len(self))[index])

    def __iter__(self) -> Iterator[Output]:
        return map(self.output, range(len(self)))


class Numbered(_Outputs):
    """What a step emitted, and for each the id that it has or gets, and the timestamp if it has none of its own."""

    __slots__ = ("emits", "ids", "stamps")

    def __init__(self, emits: Sequence[Emit], ids: Sequence[EventId], stamps: Sequence[int]) -> None:
        self.emits = emits
        self.ids = ids
        self.stamps = stamps

    def __len__(self) -> int:
        return len(self.emits)

    def output(self, index: int) -> Output:
        one = self.emits[index]
        stamp = (self.stamps[index] or None) if one.timestamp_ms is None else one.timestamp_ms
        return Output(one.topic, one.key, one.value, self.ids[index], one.headers, one.partition, stamp)


class Column(_Outputs):
    """Records of one topic, without headers or partitions; their timestamps are those of their inputs."""

    __slots__ = ("ids", "keys", "stamps", "topic", "values")

    def __init__(
        self,
        topic: str,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        ids: Sequence[EventId],
        stamps: Sequence[int],
    ) -> None:
        self.topic = topic
        self.keys = keys
        self.values = values
        self.ids = ids
        self.stamps = stamps

    def __len__(self) -> int:
        return len(self.values)

    def output(self, index: int) -> Output:
        stamp = self.stamps[index] or None
        return Output(self.topic, self.keys[index], self.values[index], self.ids[index], timestamp_ms=stamp)


@dataclass(frozen=True, slots=True)
class Results:
    """What became of a batch: outputs in input order, and each poisoned record with how many are before it."""

    outputs: Sequence[Output]
    poisoned: Sequence[tuple[int, Poisoned]] = ()

    def of_one(self) -> Sequence[Output] | Poisoned:
        """If the batch was one record."""
        return self.poisoned[0][1] if self.poisoned else list(self.outputs)
