"""The topics that a function's step reads, and how their values are decoded.

Owns: ``Sources``. Must not know: what the function does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from operator import call
from typing import Any

from tallystick.pipeline.polled import Polled
from tallystick.pipeline.records import Record
from tallystick.pipeline.topics import DecodeError, Topic

Decode = Callable[[Any], Any]


class Sources:
    """One topic, several, or none at all: then values stay as they are."""

    def __init__(self, topics: Sequence[Topic[Any]]) -> None:
        self._by_name = {topic.name: topic for topic in topics}
        # None goes to ``decode``, which says what is wrong; so an undecodable value raises here, whatever it is.
        self._decoders: dict[str, Decode] = {topic.name: topic.decode_bytes for topic in topics}

    def events(self, records: Polled) -> Iterator[Any]:
        """Each record's value, decoded when it is asked for. What that raises, ``event`` tells in full."""
        if len(self._decoders) == 1:
            (decode,) = self._decoders.values()
            return map(decode, records.values)
        return map(call, self.decoders(records), records.values)

    def decoders(self, records: Polled) -> Iterable[Decode]:
        """For each record what decodes its value."""
        if len(self._decoders) > 1:
            return map(self._decoders.__getitem__, records.topics)
        return repeat(next(iter(self._decoders.values()), _as_it_is), len(records))

    def event(self, record: Record) -> Any:
        """One record's value; ``DecodeError`` with topic, partition, offset and the path inside the value."""
        topic = self._by_name.get(record.topic)
        if topic is None:
            topic = next(iter(self._by_name.values()), None)
        if topic is None:
            return record.value
        try:
            return topic.decode(record.value)
        except DecodeError as error:
            raise error.at(f"{record.topic}-{record.partition}@{record.offset}") from error.__cause__


def _as_it_is(value: Any) -> Any:
    return value
