"""What holds for one topic, as typed values.

Owns: the values that the broker acts on. Must not know: where each came from (``resolution``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tallystick.broker.log.compaction.choice import CompactionRules
from tallystick.broker.log.old_segments import Retention
from tallystick.broker.log.settings import LogSettings, SegmentAge


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicConfig:
    """The configurations that have an effect here. Fields are named after Kafka's, with Kafka's defaults."""

    cleanup_policy: tuple[str, ...] = ("delete",)
    compression_gzip_level: int = -1
    compression_type: str = "producer"
    compression_zstd_level: int = 3
    delete_retention_ms: int = 86_400_000
    file_delete_delay_ms: int = 60_000
    index_interval_bytes: int = 4096
    internal_segment_bytes: int = 0
    max_compaction_lag_ms: int = 2**63 - 1
    max_message_bytes: int = 1_048_588
    message_timestamp_after_max_ms: int = 3_600_000
    message_timestamp_before_max_ms: int = 2**63 - 1
    message_timestamp_type: str = "CreateTime"
    min_cleanable_dirty_ratio: float = 0.5
    min_compaction_lag_ms: int = 0
    retention_bytes: int = -1
    retention_ms: int = 604_800_000
    segment_bytes: int = 1_073_741_824
    segment_jitter_ms: int = 0
    segment_ms: int = 604_800_000

    @property
    def compacts(self) -> bool:
        return "compact" in self.cleanup_policy

    @property
    def deletes(self) -> bool:
        return "delete" in self.cleanup_policy

    @property
    def log_append_time(self) -> bool:
        return self.message_timestamp_type == "LogAppendTime"

    @property
    def retention(self) -> Retention:
        return Retention(retention_ms=self.retention_ms, retention_bytes=self.retention_bytes, deletes=self.deletes)

    @property
    def compaction(self) -> CompactionRules:
        return CompactionRules(
            min_cleanable_dirty_ratio=self.min_cleanable_dirty_ratio,
            min_compaction_lag_ms=self.min_compaction_lag_ms,
            max_compaction_lag_ms=self.max_compaction_lag_ms,
            delete_retention_ms=self.delete_retention_ms,
            segment_bytes=self.internal_segment_bytes or self.segment_bytes,
        )

    @property
    def segment_age(self) -> SegmentAge:
        """A compacted log looks at closed segments only: their age is bounded by the compaction lag, too."""
        ms = min(self.segment_ms, self.max_compaction_lag_ms) if self.compacts else self.segment_ms
        return SegmentAge(ms=ms, jitter_ms=self.segment_jitter_ms)

    def log_settings(self, of_node: LogSettings) -> LogSettings:
        """The node's log settings with this topic's in their place."""
        return replace(
            of_node,
            log_segment_bytes=self.internal_segment_bytes or self.segment_bytes,
            log_index_interval_bytes=self.index_interval_bytes,
        )
