"""What a client's batch must be like before it is written, and how it is written.

Owns: the checks that need no state of the partition, and the three ways in which a batch is changed: the broker's time,
another codec, a cleared bit. Must not know: producers, transactions, files.

A batch that is not compressed stays opaque, unless its topic is compacted, bounds the time stamps of the past, or its
header names a time of the future: then every record is looked at, as Apache Kafka does always. A compressed batch is
decompressed, within a bound, and the lengths of its records must fill it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tallystick.broker.limits import MAX_RECORD_ERRORS
from tallystick.broker.topic_configs import TopicConfig
from tallystick.broker.unpacking import Unpacking
from tallystick.wire.batch import (
    COMPRESSION_MASK,
    CONTROL,
    DELETE_HORIZON,
    HEADER_BYTES,
    LOG_APPEND_TIME,
    MAGIC,
    NO_PRODUCER_ID,
    NO_TIMESTAMP,
    TRANSACTIONAL,
    Batch,
    BatchHeader,
    ImpossibleOffsets,
    MalformedBatch,
    check_crc,
    magic_of,
    read_header,
    write_batch,
)
from tallystick.wire.compression import CODECS, GZIP, ZSTD, compress
from tallystick.wire.errors import ApiError, ErrorCode
from tallystick.wire.records import RecordSpan, check_framing, record_spans

_FOREVER: Final = 2**63 - 1
_NO_CLIENTS_BITS: Final = LOG_APPEND_TIME | DELETE_HORIZON
_LEGACY_MAGICS: Final = (0, 1)


@dataclass(frozen=True, slots=True)
class RecordError:
    """Why one record of a batch is refused; ``batch_index`` is its place in it."""

    batch_index: int
    message: str


class RecordsRefused(ApiError):
    """Some records are wrong, and the batch with them. ``record_errors`` has the first ``MAX_RECORD_ERRORS``."""

    def __init__(self, code: ErrorCode, message: str, record_errors: tuple[RecordError, ...]) -> None:
        super().__init__(code, message)
        self.record_errors = record_errors


def checked_header(batch: Batch, config: TopicConfig) -> BatchHeader:
    """The header of a client's batch, once everything outside of its records is right. ``ApiError`` if not."""
    try:
        header = read_header(batch)
    except MalformedBatch as error:
        raise _without_header(batch, error) from error
    size = header.size_bytes
    if size != len(batch):
        raise _of_other_size(size, len(batch))
    if size > config.max_message_bytes:
        raise _too_large(size, config)
    try:
        check_crc(batch, 0, header)
    except MalformedBatch as error:
        raise ApiError(ErrorCode.corrupt_message, str(error)) from error
    _check_fields(header)
    segment_bytes = config.internal_segment_bytes or config.segment_bytes
    if size > segment_bytes:
        raise ApiError(ErrorCode.record_list_too_large, f"a batch of {size} bytes; a segment holds {segment_bytes}")
    return header


def _without_header(batch: Batch, error: MalformedBatch) -> ApiError:
    if magic_of(batch) in _LEGACY_MAGICS:
        return ApiError(ErrorCode.invalid_record, f"message format {magic_of(batch)} is not taken, only {MAGIC}")
    if len(batch) < HEADER_BYTES:
        return ApiError(ErrorCode.invalid_record, f"{len(batch)} bytes hold no batch")
    impossible = isinstance(error, ImpossibleOffsets)
    return ApiError(ErrorCode.invalid_record if impossible else ErrorCode.corrupt_message, str(error))


def _of_other_size(size: int, there: int) -> ApiError:
    if size > there:
        return ApiError(ErrorCode.invalid_record, f"the batch has {size} bytes, {there} are there")
    return ApiError(ErrorCode.invalid_record, "one batch is allowed per partition, and nothing behind it")


def _check_fields(header: BatchHeader) -> None:
    attributes = header.attributes
    wrong = None
    if header.base_offset != 0:
        wrong = f"the base offset is {header.base_offset}, not 0"
    elif attributes & CONTROL:
        wrong = "a client may not write a control batch"
    elif header.record_count < 1 or header.record_count != header.last_offset_delta + 1:
        wrong = f"{header.record_count} records with last offset delta {header.last_offset_delta}"
    elif attributes & TRANSACTIONAL and header.producer_id == NO_PRODUCER_ID:
        wrong = "a transactional batch without producer id"
    elif attributes & COMPRESSION_MASK > ZSTD:
        wrong = f"there is no compression codec {attributes & COMPRESSION_MASK}"
    if wrong is not None:
        raise ApiError(ErrorCode.invalid_record, wrong)


def _too_large(size: int, config: TopicConfig) -> ApiError:
    return ApiError(
        ErrorCode.message_too_large, f"a batch of {size} bytes; max.message.bytes is {config.max_message_bytes}"
    )


def may_be_stored_as_sent(config: TopicConfig) -> bool:
    """Whether the topic looks at no record, so that ``is_stored_as_sent`` may be asked of each batch."""
    return (
        config.compression_type == "producer"
        and not config.compacts
        and not config.log_append_time
        and config.message_timestamp_before_max_ms == _FOREVER
    )


def is_stored_as_sent(header: BatchHeader, config: TopicConfig, now_ms: int) -> bool:
    """Whether ``as_stored`` would give the batch back as it is, with no look at a record: in short, for most."""
    latest_ms = now_ms + config.message_timestamp_after_max_ms
    return (
        not header.attributes & (_NO_CLIENTS_BITS | COMPRESSION_MASK)
        and header.max_timestamp_ms <= latest_ms
        and header.base_timestamp_ms <= latest_ms
    )


def as_stored(
    header: BatchHeader, batch: Batch, *, config: TopicConfig, now_ms: int, partition: str, unpacking: Unpacking
) -> tuple[BatchHeader, Batch]:
    """The batch as its topic wants it. ``RecordsRefused`` or another ``ApiError`` if its records are not right."""
    codec = header.attributes & COMPRESSION_MASK
    target = codec if config.compression_type == "producer" else _CODEC_OF_TYPE[config.compression_type]
    look = _Look(header, config, now_ms, partition)
    body: bytes | None = None
    max_timestamp_ms = header.max_timestamp_ms
    if codec or target or look.is_due:
        try:
            content = unpacking.unpack(codec, bytes(batch[HEADER_BYTES:]), records=header.record_count)
            if look.is_due:
                max_timestamp_ms = look.through(content)
            elif codec:
                check_framing(content, header.record_count)
        except MalformedBatch as error:
            raise ApiError(ErrorCode.invalid_record, str(error)) from error
        if target != codec:
            body = compress(target, content, level=_level(target, config))
    attributes = header.attributes & ~(_NO_CLIENTS_BITS | COMPRESSION_MASK) | target
    if config.log_append_time:
        attributes, max_timestamp_ms = attributes | LOG_APPEND_TIME, now_ms
    if body is None and attributes == header.attributes and max_timestamp_ms == header.max_timestamp_ms:
        return header, batch
    changed = write_batch(
        header._replace(attributes=attributes, max_timestamp_ms=max_timestamp_ms),
        batch[HEADER_BYTES:] if body is None else body,
    )
    if len(changed) > config.max_message_bytes:
        raise _too_large(len(changed), config)
    return read_header(changed), changed


_CODEC_OF_TYPE: Final = {**CODECS, "uncompressed": CODECS["none"]}


def _level(codec: int, config: TopicConfig) -> int | None:
    if codec == GZIP:
        return None if config.compression_gzip_level < 0 else config.compression_gzip_level
    return config.compression_zstd_level if codec == ZSTD else None


class _Look:
    """The look at every record of a batch, if its topic or its header asks for one."""

    def __init__(self, header: BatchHeader, config: TopicConfig, now_ms: int, partition: str) -> None:
        self._header = header
        self._partition = partition
        self._needs_keys = config.compacts
        self._checks_times = not config.log_append_time
        self._earliest_ms = now_ms - config.message_timestamp_before_max_ms
        self._latest_ms = now_ms + config.message_timestamp_after_max_ms
        self.is_due = (
            config.compacts
            or bool(header.attributes & LOG_APPEND_TIME)
            or (
                self._checks_times
                and (
                    config.message_timestamp_before_max_ms != _FOREVER
                    or max(header.max_timestamp_ms, header.base_timestamp_ms) > self._latest_ms
                )
            )
        )

    def through(self, content: bytes) -> int:
        """The largest time stamp. ``RecordsRefused`` if a record is not to be taken."""
        largest_ms = NO_TIMESTAMP
        errors: list[tuple[ErrorCode, RecordError]] = []
        for place, span in enumerate(record_spans(content, self._header.record_count)):
            if span.offset_delta != place:
                raise MalformedBatch(f"offset delta {span.offset_delta} where {place} is due")
            timestamp_ms = span.timestamp_ms(self._header)
            found = next(self._errors(place, span, timestamp_ms), None)
            if found is not None:
                errors.append(found)
            largest_ms = max(largest_ms, timestamp_ms)
        if errors:
            raise _refused(errors)
        return largest_ms

    def _errors(self, place: int, span: RecordSpan, timestamp_ms: int) -> Iterator[tuple[ErrorCode, RecordError]]:
        if self._needs_keys and span.key is None:
            text = f"Compacted topic cannot accept message without key in topic partition {self._partition}"
            yield ErrorCode.invalid_record, RecordError(place, text)
        if self._checks_times and timestamp_ms != NO_TIMESTAMP:
            if not self._earliest_ms <= timestamp_ms <= self._latest_ms:
                text = (
                    f"Timestamp {timestamp_ms} of message with offset {place} is out of range. The timestamp should be "
                    f"within [{self._earliest_ms}, {self._latest_ms}]"
                )
                yield ErrorCode.invalid_timestamp, RecordError(place, text)
        elif self._header.attributes & LOG_APPEND_TIME:
            text = "Invalid timestamp type in message. Producer should not set timestamp type to LogAppendTime."
            yield ErrorCode.invalid_timestamp, RecordError(place, text)


def _refused(errors: list[tuple[ErrorCode, RecordError]]) -> RecordsRefused:
    rows = tuple(row for _, row in errors[:MAX_RECORD_ERRORS])
    if any(code is ErrorCode.invalid_timestamp for code, _ in errors):
        text = "One or more records have been rejected due to invalid timestamp"
        return RecordsRefused(ErrorCode.invalid_timestamp, text, rows)
    text = f"One or more records have been rejected due to {len(errors)} record errors in total"
    return RecordsRefused(ErrorCode.invalid_record, f"{text}, the first of them: {rows[0].message}", rows)
