"""What stays of one batch.

Owns: the rules of Apache Kafka's cleaner for records, tombstones, markers and empty batches, and a batch's rewriting.
Must not know: where batches come from and go to.

A tombstone, and a marker that has nothing left to end, are needed by readers who are behind: they get a time, noted in
the batch itself, from which on they may go (KIP-534). Work is done in steps: each generator yields now and then.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.broker.log.aborted import AbortedTransaction
from tallystick.broker.log.compaction.latest_offsets import LatestOffsets
from tallystick.broker.log.compaction.transactions import ReadTransactions
from tallystick.wire.batch import (
    COMPRESSION_MASK,
    DELETE_HORIZON,
    HEADER_BYTES,
    LOG_APPEND_TIME,
    BatchHeader,
    write_batch,
)
from tallystick.wire.compression import compress, decompress
from tallystick.wire.records import RecordSpan, read_varint, record_spans, write_varint

RECORDS_PER_STEP: Final = 200

Steps = Generator[None, None, "Stays"]


@dataclass(frozen=True, slots=True)
class Stays:
    """A batch as it stays; None if nothing of it does. ``aborted`` is what its marker aborts."""

    batch: bytes | None
    aborted: AbortedTransaction | None = None


_NOTHING: Final = Stays(None)


def noted(header: BatchHeader, batch: bytes, latest: LatestOffsets, *, from_offset: int) -> Generator[None]:
    """Note the keys of a batch that is neither aborted nor a marker."""
    for number, span in enumerate(record_spans(_content(header, batch), header.record_count)):
        offset = header.base_offset + span.offset_delta
        if span.key is not None and offset >= from_offset:
            latest.note(span.key, offset)
        if number % RECORDS_PER_STEP == RECORDS_PER_STEP - 1:
            yield


class Retained:
    """The rules, for one pass over a log from its beginning. ``is_last`` tells a producer's last batch."""

    def __init__(
        self,
        latest: LatestOffsets,
        transactions: ReadTransactions,
        is_last: Callable[[BatchHeader], bool],
        *,
        now_ms: int,
        delete_retention_ms: int,
    ) -> None:
        self._latest = latest
        self._transactions = transactions
        self._is_last = is_last
        self._now_ms = now_ms
        self._horizon_ms = now_ms + delete_retention_ms

    def of(self, header: BatchHeader, batch: bytes) -> Steps:
        """What stays of the next batch."""
        if header.is_control:
            return self._of_marker(header, batch)
        if self._transactions.is_aborted(header):
            return self._of_aborted(header)
        return self._of_data(header, batch)

    def _of_marker(self, header: BatchHeader, batch: bytes) -> Steps:
        yield from ()
        is_needless, aborted = self._transactions.end(header)
        horizon_ms = _horizon_of(header)
        if header.record_count == 0 or (is_needless and horizon_ms is not None and horizon_ms <= self._now_ms):
            return self._emptied(header)
        if is_needless and horizon_ms is None:
            content = _content(header, batch)
            spans = list(record_spans(content, header.record_count))
            batch = rewritten(header, content, spans, horizon_ms=self._horizon_ms)
        return Stays(batch, aborted)

    def _of_aborted(self, header: BatchHeader) -> Steps:
        yield from ()
        return self._emptied(header)

    def _of_data(self, header: BatchHeader, batch: bytes) -> Steps:
        horizon_ms = _horizon_of(header)
        tombstones_stay = horizon_ms is None or self._now_ms < horizon_ms
        content = _content(header, batch)
        kept: list[RecordSpan] = []
        has_tombstone = False
        for number, span in enumerate(record_spans(content, header.record_count)):
            is_tombstone = span.value_at < 0
            is_newest = span.key is not None and header.base_offset + span.offset_delta >= self._latest.of(span.key)
            if is_newest and (tombstones_stay or not is_tombstone):
                kept.append(span)
                has_tombstone |= is_tombstone
            if number % RECORDS_PER_STEP == RECORDS_PER_STEP - 1:
                yield
        if not kept:
            return self._emptied(header)
        new_horizon_ms = self._horizon_ms if has_tombstone and horizon_ms is None else None
        if len(kept) == header.record_count and new_horizon_ms is None:
            return Stays(batch)
        return Stays(rewritten(header, content, kept, horizon_ms=new_horizon_ms))

    def _emptied(self, header: BatchHeader) -> Stays:
        """A producer's last batch stays for its sequence numbers and epoch, without its records."""
        return Stays(emptied(header)) if self._is_last(header) else _NOTHING


def _content(header: BatchHeader, batch: bytes) -> bytes:
    if header.record_count == 0:
        return b""
    return decompress(header.attributes & COMPRESSION_MASK, batch[HEADER_BYTES:])


def _horizon_of(header: BatchHeader) -> int | None:
    return header.base_timestamp_ms if header.attributes & DELETE_HORIZON else None


def emptied(header: BatchHeader) -> bytes:
    """The batch without its records: the same offsets, producer and sequence numbers."""
    attributes = header.attributes & ~(COMPRESSION_MASK | DELETE_HORIZON)
    return write_batch(
        header._replace(attributes=attributes, base_timestamp_ms=header.max_timestamp_ms, record_count=0), b""
    )


def rewritten(header: BatchHeader, content: bytes, kept: Sequence[RecordSpan], *, horizon_ms: int | None) -> bytes:
    """The batch with some of its records, and with the time from which on its tombstones or its marker may go."""
    attributes, base_timestamp_ms = header.attributes, header.base_timestamp_ms
    if horizon_ms is None:
        records = b"".join(content[span.start : span.end] for span in kept)
    else:
        attributes, base_timestamp_ms = attributes | DELETE_HORIZON, horizon_ms
        records = b"".join(_timed_from(content, span, header, horizon_ms) for span in kept)
    largest_ms = header.max_timestamp_ms
    if not attributes & LOG_APPEND_TIME:
        largest_ms = max(span.timestamp_ms(header) for span in kept)
    changed = header._replace(
        attributes=attributes,
        base_timestamp_ms=base_timestamp_ms,
        max_timestamp_ms=largest_ms,
        record_count=len(kept),
    )
    return write_batch(changed, compress(attributes & COMPRESSION_MASK, records))


def _timed_from(content: bytes, span: RecordSpan, header: BatchHeader, base_timestamp_ms: int) -> bytes:
    """A record whose time counts from another base: it is the first field after the record's attributes."""
    _, attributes_at = read_varint(content, span.start)
    _, rest_at = read_varint(content, attributes_at + 1)
    body = content[attributes_at : attributes_at + 1]
    body += write_varint(span.timestamp_ms(header) - base_timestamp_ms) + content[rest_at : span.end]
    return write_varint(len(body)) + body
