"""Records that fail: the dead letter each becomes, and the count of tries.

Owns: ``dead_letter`` and ``FailureBook``. Must not know: Kafka's client, transactions.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Final

from tallystick.ids import derived_id
from tallystick.pipeline.records import Output, Record

FAILURE_HEADER_PREFIX: Final = "tallystick-failure-"
_STACK_LIMIT_BYTES: Final = 16_384


def dead_letter(record: Record, cause: BaseException, *, topic: str, step: str, tries: int) -> Output:
    """The record as it came, with why it failed, where, and where it came from in headers.

    Its event id is derived from the record's, so that a replay writes the same one.
    """
    stack = "".join(traceback.format_exception(cause)).encode()[-_STACK_LIMIT_BYTES:]
    facts = {
        "cause": f"{type(cause).__module__}.{type(cause).__qualname__}: {cause}".encode(),
        "stack": stack,
        "step": step.encode(),
        "tries": str(tries).encode(),
        "topic": record.topic.encode(),
        "partition": str(record.partition).encode(),
        "offset": str(record.offset).encode(),
        "timestamp-ms": str(record.timestamp_ms).encode(),
        "event-id": record.event_id.encode(),
    }
    kept = tuple(header for header in record.headers if not header[0].startswith(FAILURE_HEADER_PREFIX))
    return Output(
        topic=topic,
        key=record.key,
        value=record.value,
        event_id=derived_id(record.event_id, f"{step}.dead-letter", 0),
        headers=kept + tuple((FAILURE_HEADER_PREFIX + name, value) for name, value in facts.items()),
    )


class FailureBook:
    """How often each record at the head of a partition has failed; bounded by the number of partitions.

    A batch that fails does not say which record did it. So the records of a failed batch are tried again one to a
    transaction, and the one that then fails alone is counted by its position.
    """

    def __init__(self) -> None:
        self._spans: dict[tuple[str, int], int] = {}
        self._tries: dict[tuple[str, int], tuple[int, int]] = {}
        self._verdicts: dict[tuple[str, int], tuple[int, Exception]] = {}

    def batch_failed(self, records: Sequence[Record]) -> None:
        """Remember that the records of a batch have to be told apart."""
        for record in records:
            place = (record.topic, record.partition)
            end = max(record.offset + 1, self._spans.get(place, 0))
            self._spans[place] = end

    def record_failed(self, record: Record) -> int:
        """Count a failure of one record alone; the number of its failures up to now."""
        place = (record.topic, record.partition)
        offset, tries = self._tries.get(place, (record.offset, 0))
        tries = tries + 1 if offset == record.offset else 1
        self._tries[place] = (record.offset, tries)
        return tries

    def condemn(self, record: Record, cause: Exception) -> None:
        """The record is not to be processed again: what it makes cannot be written."""
        self._verdicts[record.topic, record.partition] = (record.offset, cause)

    def verdict(self, record: Record) -> Exception | None:
        """Why the record is not to be processed, None if it is."""
        if not self._verdicts:
            return None
        offset, cause = self._verdicts.get((record.topic, record.partition), (-1, None))
        return cause if offset == record.offset else None

    def done(self, record: Record) -> None:
        """The record is committed: forget what it took to get there."""
        place = (record.topic, record.partition)
        span = self._spans.get(place)
        if span is not None and record.offset + 1 >= span:
            del self._spans[place]
        self._tries.pop(place, None)
        self._verdicts.pop(place, None)

    def forget(self) -> None:
        """The assignment changed: another member may own these partitions now."""
        self._spans.clear()
        self._tries.clear()
        self._verdicts.clear()

    @property
    def is_empty(self) -> bool:
        """Whether nothing has failed lately, so that nothing need be looked up."""
        return not (self._spans or self._tries or self._verdicts)

    @property
    def isolating(self) -> bool:
        """Whether the next batch is to be one record."""
        return bool(self._spans)
