"""One partition: its log and its producers' state, changed together.

Owns: the checks that every batch passes, the order "decide, write, apply", markers, what a reader may see. Must not
know: the protocol's messages, who waits for data, the coordinator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from tallystick.broker.log.boots import Boots
from tallystick.broker.log.checkpoints import Checkpoints
from tallystick.broker.log.compaction.choice import Due, due
from tallystick.broker.log.durability import Durability
from tallystick.broker.log.old_segments import count_old
from tallystick.broker.log.partition_log import LEADER_EPOCH, PartitionLog
from tallystick.broker.log.settings import DEFAULTS, LogSettings
from tallystick.broker.produced_batch import as_stored, checked_header, is_stored_as_sent, may_be_stored_as_sent
from tallystick.broker.producer_expiry import IdleProducers
from tallystick.broker.producer_snapshot import ReplayedProducers
from tallystick.broker.producer_state import Accept, Duplicate, ProducerStates, Reject
from tallystick.broker.topic_configs import TopicConfig
from tallystick.broker.unpacking import Unpacking
from tallystick.clock import Clock, SystemClock
from tallystick.errors import CorruptData
from tallystick.wire.batch import Batch, BatchHeader, MalformedBatch, read_header
from tallystick.wire.errors import ApiError, ErrorCode
from tallystick.wire.records import decode_batch, encode_marker

if TYPE_CHECKING:
    from tallystick.broker.log.compaction.work import Compaction

logger = structlog.get_logger(__name__)

_DEFAULTS: Final = TopicConfig()
UP_TO_HIGH_WATERMARK: Final = -1

Verify = Callable[[int, int], int]
"""Producer id and epoch to an error code: may this transactional producer write here now?"""


class Appended(NamedTuple):
    """Where a produced batch lies: for a duplicate, where the original lies."""

    base_offset: int
    duplicate: bool
    log_start_offset: int = 0
    log_append_time_ms: int | None = None
    """The broker's time in the records, if the topic wants it; of a duplicate, as in Apache Kafka, its largest time."""


@dataclass(frozen=True, slots=True)
class OffsetAndTime:
    """An answer to a look-up by time; offset -1 if there is none."""

    offset: int
    timestamp_ms: int


class Glimpse(NamedTuple):
    """What a reader is given: whole batches, where they end, and how far it may read; all of one moment."""

    data: Batch
    next_offset: int
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int


class Partition:
    """``listeners`` are called, once each, when there is more to read or when the partition is gone."""

    def __init__(
        self,
        topic: str,
        index: int,
        folder: Path,
        durability: Durability,
        *,
        config: TopicConfig = _DEFAULTS,
        settings: LogSettings = DEFAULTS,
        boots: Boots | None = None,
        checkpoints: Checkpoints | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.topic = topic
        self.index = index
        self.listeners: set[Callable[[], None]] = set()
        self.deleted = False
        self._producers = ProducerStates()
        self._idle = IdleProducers()
        self._clock = clock or SystemClock()
        state = ReplayedProducers(self._producers, f"{topic}-{index}")
        self._settings = settings
        self._durability = durability
        self._log = PartitionLog(
            folder, durability, state, settings=config.log_settings(settings), boots=boots, checkpoints=checkpoints
        )
        self._log.on_visible = self._tell_listeners
        self.configure(config)
        if self._log.torn is not None:
            logger.warning(
                "a torn write was cut off the log",
                topic=topic,
                partition=index,
                file=self._log.torn.path,
                at_bytes=self._log.torn.at_bytes,
                cut_bytes=self._log.torn.cut_bytes,
                reason=self._log.torn.reason,
                kept=self._log.torn.kept,
            )

    def configure(self, config: TopicConfig) -> None:
        """From here on these settings hold."""
        self.config = config
        self._looks_at_no_record = may_be_stored_as_sent(config)
        self._log.settings = config.log_settings(self._settings)
        self._log.age = config.segment_age

    @property
    def log(self) -> PartitionLog:
        return self._log

    @property
    def producers(self) -> ProducerStates:
        return self._producers

    @property
    def high_watermark(self) -> int:
        return self._log.visible_offset

    @property
    def last_stable_offset(self) -> int:
        # A transaction may have begun in what retention has removed since.
        return max(self._producers.last_stable_offset(self._log.visible_offset), self._log.start_offset)

    def append(self, batch: Batch, *, verify: Verify, unpacking: Unpacking | None = None) -> Appended:
        """Check and write one batch from a client. ``ApiError`` with the code to answer if it is refused.

        ``unpacking`` is what the batches of its request may cost together; None: of a request of its own.
        """
        header = checked_header(batch, self.config)
        decision = self._producers.check(header)
        if isinstance(decision, Duplicate):
            original = decision.original
            return Appended(
                original.first_offset,
                duplicate=True,
                log_start_offset=self._log.start_offset,
                log_append_time_ms=original.timestamp_ms,
            )
        now_ms = self._clock.now_ms()
        if not self._looks_at_no_record or not is_stored_as_sent(header, self.config, now_ms):
            header, batch = as_stored(
                header,
                batch,
                config=self.config,
                now_ms=now_ms,
                partition=f"{self.topic}-{self.index}",
                unpacking=unpacking or Unpacking(),
            )
        if isinstance(decision, Reject):
            raise ApiError(decision.code, decision.reason)
        if header.is_transactional and not self._producers.has_open_transaction(
            header.producer_id, header.producer_epoch
        ):
            code = verify(header.producer_id, header.producer_epoch)
            if code != 0:
                raise ApiError(ErrorCode(code), "the coordinator does not know of this partition in the transaction")
        try:
            written = self._write(header, batch)
        except OSError as error:
            raise ApiError(ErrorCode.kafka_storage_error, f"the log cannot be written: {error.strerror}") from error
        self._producers.apply_batch(written)
        return Appended(
            written.base_offset,
            duplicate=False,
            log_start_offset=self._log.start_offset,
            log_append_time_ms=now_ms if self.config.log_append_time else None,
        )

    def _write(self, header: BatchHeader, batch: Batch) -> BatchHeader:
        try:
            return self._log.append(header, batch)
        except OSError:
            logger.exception("the log cannot be written", topic=self.topic, partition=self.index)
            raise

    def append_marker(
        self, *, producer_id: int, producer_epoch: int, commit: bool, coordinator_epoch: int, now_ms: int
    ) -> bool:
        """End the producer's transaction here; False if there was nothing to write. ``OSError``: disk full."""
        decision = self._producers.check_marker(
            producer_id=producer_id, producer_epoch=producer_epoch, coordinator_epoch=coordinator_epoch
        )
        if not isinstance(decision, Accept):
            logger.error("a marker is refused", topic=self.topic, partition=self.index, decision=decision)
            return False
        entry = self._producers.producers.get(producer_id)
        if entry is not None and entry.transaction_first_offset is None and entry.producer_epoch == producer_epoch:
            return False
        batch = encode_marker(
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            commit=commit,
            coordinator_epoch=coordinator_epoch,
            now_ms=now_ms,
        )
        written = self._write(read_header(batch), batch)
        aborted = self._producers.apply_marker(written, commit=commit, coordinator_epoch=coordinator_epoch)
        if aborted is not None:
            self._log.note_aborted(aborted)
        self._tell_listeners()
        return True

    def expire_producers(self, *, now_ms: int, expiration_ms: int) -> int:
        """Forget the producers that idled for so long; ``now_ms`` is monotonic."""
        return self._idle.forget_expired(self._producers, now_ms=now_ms, expiration_ms=expiration_ms)

    def read(self, offset: int, *, max_bytes: int, committed_only: bool, at_least_one: bool = True) -> Glimpse:
        """Batches from ``offset`` on; ``at_least_one`` even if it is larger than ``max_bytes`` (KIP-74).

        ``ApiError`` OFFSET_OUT_OF_RANGE outside of the log.
        """
        log = self._log
        start_offset, end_offset, high_watermark = log.start_offset, log.end_offset, log.visible_offset
        last_stable_offset = max(self._producers.last_stable_offset(high_watermark), start_offset)
        if not start_offset <= offset <= end_offset:
            raise ApiError(ErrorCode.offset_out_of_range, f"offset {offset} is not in {start_offset} to {end_offset}")
        limit = last_stable_offset if committed_only else high_watermark
        data: Batch = b""
        next_offset = offset
        if offset < limit:
            try:
                data, next_offset = log.read(offset, max_bytes=max_bytes, limit_offset=limit, at_least_one=at_least_one)
            except (CorruptData, OSError) as error:
                raise self._unreadable(error, offset) from error
        return Glimpse(data, next_offset, high_watermark, last_stable_offset, start_offset)

    def _unreadable(self, error: Exception, offset: int = -1) -> ApiError:
        """The log is damaged or the disk fails, found while the broker runs: this partition's readers are told."""
        logger.error("the log cannot be read", topic=self.topic, partition=self.index, offset=offset, reason=str(error))
        return ApiError(ErrorCode.kafka_storage_error, f"the log cannot be read: {error}")

    def check_leader_epoch(self, current_leader_epoch: int) -> None:
        """``ApiError`` UNKNOWN_LEADER_EPOCH if a client has heard of a later leader than there ever was (KIP-320)."""
        if current_leader_epoch > LEADER_EPOCH:
            raise ApiError(ErrorCode.unknown_leader_epoch, f"epoch {current_leader_epoch}; it is {LEADER_EPOCH}")

    def diverges_at(self, offset: int, *, last_fetched_epoch: int) -> int | None:
        """Where a reader's log ends to be this one, if it goes on behind it; None if it is this one (KIP-595).

        ``ApiError`` OFFSET_OUT_OF_RANGE for an epoch that never was.
        """
        if last_fetched_epoch > LEADER_EPOCH:
            raise ApiError(ErrorCode.offset_out_of_range, f"there was no epoch {last_fetched_epoch}")
        end_offset = self._log.end_offset
        return end_offset if last_fetched_epoch == LEADER_EPOCH and offset > end_offset else None

    def first_at_or_after(self, timestamp_ms: int, *, limit_offset: int) -> OffsetAndTime:
        """The first record at or after a time, before ``limit_offset``."""
        try:
            for header, batch in self._log.batches_from_time(timestamp_ms):
                if header.base_offset >= limit_offset:
                    break
                for record in decode_batch(batch)[1]:
                    if record.timestamp_ms >= timestamp_ms and record.offset >= self._log.start_offset:
                        return OffsetAndTime(record.offset, record.timestamp_ms)
        except (CorruptData, MalformedBatch, OSError) as error:
            raise self._unreadable(error) from error
        return OffsetAndTime(-1, -1)

    # Giving up records

    @property
    def file_delete_delay_ms(self) -> int:
        return self.config.file_delete_delay_ms

    def drop_old_segments(self, now_ms: int) -> list[Path]:
        """Take the segments out of the log that the topic's settings do not keep; their files, to be removed later."""
        log = self._log
        try:
            count = count_old(
                log.segments,
                self.config.retention,
                now_ms=now_ms,
                start_offset=log.start_offset,
                high_watermark=self.high_watermark,
            )
            dropped = log.drop_oldest(count) if count else []
        except OSError as error:
            logger.warning("old segments cannot be removed", topic=self.topic, partition=self.index, reason=str(error))
            return []
        if dropped:
            logger.info(
                "old segments are removed",
                topic=self.topic,
                partition=self.index,
                count=len(dropped),
                log_start_offset=log.start_offset,
            )
        return dropped

    # Compaction

    def compaction_due(self, now_ms: int) -> Due | None:
        """What is to be compacted now; None if nothing is, or the topic is not compacted."""
        log = self._log
        if not self.config.compacts or len(log.segments) < 2:
            return None
        return due(
            log.segments,
            self.config.compaction,
            cleaned_offset=log.compaction.cleaned_offset,
            last_stable_offset=self.last_stable_offset,
            now_ms=now_ms,
            first_timestamp_of=lambda place: log.segments[place].first_timestamp_ms(),
        )

    def compaction(self, due: Due, *, now_ms: int, buffer_bytes: int) -> Compaction:
        """The work; nothing is done before its first step."""
        from tallystick.broker.log.compaction.work import Compaction  # few topics are compacted

        return Compaction(
            self._log,
            self._durability,
            due,
            self.config.compaction,
            self._producers.is_last_batch,
            buffer_bytes=buffer_bytes,
            now_ms=now_ms,
        )

    def delete_records(self, before_offset: int) -> int:
        """Give up the records before an offset, -1 for all that are committed; where the log begins then.

        ``ApiError`` OFFSET_OUT_OF_RANGE above the high watermark, POLICY_VIOLATION for a topic that is only compacted.
        """
        if not self.config.deletes:
            raise ApiError(
                ErrorCode.policy_violation,
                f"records of {self.topic}-{self.index} cannot be deleted: the topic is compacted",
            )
        offset = self.high_watermark if before_offset == UP_TO_HIGH_WATERMARK else before_offset
        if not 0 <= offset <= self.high_watermark:
            raise ApiError(
                ErrorCode.offset_out_of_range, f"offset {offset}; the high watermark is {self.high_watermark}"
            )
        try:
            self._log.begin_at(offset)
        except OSError as error:
            raise ApiError(ErrorCode.kafka_storage_error, f"the log cannot be written: {error.strerror}") from error
        return self._log.start_offset

    def _tell_listeners(self) -> None:
        if self.listeners:
            waiting, self.listeners = self.listeners, set()
            for tell in waiting:
                tell()

    def checkpoint(self) -> None:
        """Let the next start begin where the log ends now. On a full disk it begins earlier, and nothing is lost."""
        try:
            self._log.checkpoint()
        except OSError as error:
            logger.warning(
                "no checkpoint can be written: the next start reads more",
                topic=self.topic,
                partition=self.index,
                reason=str(error),
            )

    def close(self, *, deleted: bool) -> None:
        """Close the files; whoever waits for data is told."""
        self.deleted = deleted
        self._log.close()
        self._tell_listeners()
