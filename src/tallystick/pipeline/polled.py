"""Records as they were polled, by columns. A ``Record`` is made when somebody asks for it.

Owns: ``Polled``, and what is read of a client's message. Must not know: librdkafka beyond that, what is in the records.

Most steps look at values and keys only. A loop in C over one method of all messages costs a tenth of what a ``Record``
for each of them would, so that columns are what the runtime works with, and ids are put together by the run of one
partition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import itemgetter, ne
from typing import Protocol, overload

from tallystick.ids import EventId, PositionIds, derived_ids
from tallystick.pipeline.records import UNSTAMPED, Headers, Record

MessageHeaders = Iterable[tuple[str, bytes]]


class Message(Protocol):
    """What is read of a client's message."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> MessageHeaders | None: ...
    def timestamp(self) -> tuple[int, int]: ...


def edges(column: Sequence[object], *others: Sequence[object]) -> list[int]:
    """Where the value of a column changes, with both ends. librdkafka hands out many messages of a partition in a row.

    With ``others`` where any of them does, too. Columns are not empty.
    """
    count = len(column)
    cuts = {*compress(range(1, count), map(ne, column, column[1:]))}
    for other in others:
        cuts.update(compress(range(1, count), map(ne, other, other[1:])))
    return [0, *sorted(cuts), count]


@dataclass(frozen=True, slots=True)
class Run:
    """Records of one partition that stand side by side."""

    topic: str
    partition: int
    offsets: Sequence[int]
    of_partition: Callable[[str, int], PositionIds]

    @property
    def ids(self) -> PositionIds:
        return self.of_partition(self.topic, self.partition)


class Polled(Sequence[Record]):
    """The records of one batch. Columns have one entry for each record, in the order of the poll."""

    __slots__ = ("_event_ids", "_given", "_headers", "_keys", "_messages", "_records", "_runs", "_stamps", "_values")

    def __init__(
        self,
        messages: Sequence[Message],
        runs: Sequence[Run],
        headers: Sequence[MessageHeaders | None],
        given: Sequence[EventId | None] | None,
    ) -> None:
        """``given`` are the ids from the records' headers, None if no record has any header."""
        self._messages = messages
        self._runs = runs
        self._headers = headers
        self._given = given
        self._values: list[bytes | None] | None = None
        self._keys: list[bytes | None] | None = None
        self._event_ids: list[EventId] | None = None
        self._stamps: list[int] | None = None
        self._records: list[Record] | None = None

    @classmethod
    def of(cls, records: Sequence[Record]) -> Polled:
        """Records that are there already."""
        polled = cls((), (), (), None)
        polled._records = list(records)
        polled._values = [record.value for record in records]
        polled._keys = [record.key for record in records]
        polled._event_ids = [record.event_id for record in records]
        return polled

    @property
    def runs(self) -> Sequence[Run]:
        return self._runs

    @property
    def values(self) -> list[bytes | None]:
        if self._values is None:
            self._values = self._column(lambda kind: kind.value)
        return self._values

    @property
    def keys(self) -> list[bytes | None]:
        if self._keys is None:
            self._keys = self._column(lambda kind: kind.key)
        return self._keys

    @property
    def inherited_stamps(self) -> list[int]:
        """The timestamp that the outputs of each record inherit; 0 if the record has none (``UNSTAMPED``)."""
        if self._stamps is None:
            if self._records is not None:
                stamps = [record.timestamp_ms for record in self._records]
            elif messages := self._messages:
                stamps = list(map(itemgetter(1), map(type(messages[0]).timestamp, messages)))
            else:
                stamps = []
            if stamps and min(stamps) < 0:  # written without one: -1
                stamps = [max(stamp, UNSTAMPED) for stamp in stamps]
            self._stamps = stamps
        return self._stamps

    @property
    def topics(self) -> list[str]:
        if self._records is not None:
            return [record.topic for record in self._records]
        return [run.topic for run in self._runs for _ in run.offsets]

    @property
    def partitions(self) -> list[int]:
        if self._records is not None:
            return [record.partition for record in self._records]
        return [run.partition for run in self._runs for _ in run.offsets]

    @property
    def event_ids(self) -> list[EventId]:
        if self._event_ids is None:
            by_position = [one for run in self._runs for one in run.ids.of(run.offsets)]
            given = self._given
            self._event_ids = (
                by_position if given is None else [a or b for a, b in zip(given, by_position, strict=True)]
            )
        return self._event_ids

    def derived_ids(self, step: str, ordinal: int) -> list[EventId]:
        """The id of each record's ``ordinal``-th output in ``step``."""
        if self._given is None and self._event_ids is None:
            ids: list[EventId] = []
            for run in self._runs:
                ids += run.ids.derived(run.offsets, step, ordinal)
            return ids
        return derived_ids(self.event_ids, step, ordinal)

    def record(self, index: int) -> Record:
        """One record, without making the others."""
        if self._records is not None:
            return self._records[index]
        message, headers = self._messages[index], self._headers[index]
        return Record(
            message.topic(),
            message.partition(),
            message.offset(),
            message.key(),
            message.value(),
            tuple(headers) if headers else (),
            message.timestamp()[1],
            self.event_ids[index],
        )

    def timestamp_ms(self, index: int) -> int:
        return self._records[index].timestamp_ms if self._records is not None else self._messages[index].timestamp()[1]

    def headers(self, index: int) -> Headers:
        if self._records is not None:
            return self._records[index].headers
        headers = self._headers[index]
        return tuple(headers) if headers else ()

    def __len__(self) -> int:
        return len(self._messages if self._records is None else self._records)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        return self.record(index) if isinstance(index, int) else self._all()[index]

    def __iter__(self) -> Iterator[Record]:
        return iter(self._all())

    def _all(self) -> list[Record]:
        if self._records is None:
            self._records = self._made() if self._messages else []
        return self._records

    def _made(self) -> list[Record]:
        kind, runs = type(self._messages[0]), self._runs
        partitions = (run.partition for run in runs for _ in run.offsets)
        offsets = (offset for run in runs for offset in run.offsets)
        headers: Iterable[Headers] = (tuple(one) if one else () for one in self._headers)
        stamps = (stamp for _, stamp in map(kind.timestamp, self._messages))
        columns = (self.topics, partitions, offsets, self.keys, self.values, headers, stamps, self.event_ids)
        return list(map(Record, *columns))

    def _column(self, method: Callable[[type[Message]], Callable[[Message], bytes | None]]) -> list[bytes | None]:
        messages = self._messages
        return list(map(method(type(messages[0])), messages)) if messages else []
