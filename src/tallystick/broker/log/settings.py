"""What the log may be told, with Apache Kafka's names and defaults.

Owns: the values. Must not know: who reads them from a file, who honours them.

A field is named like Apache Kafka's broker setting with underscores for dots (``log.segment.bytes`` is
``log_segment_bytes``), so that the mapping needs no table.
"""

from __future__ import annotations

from dataclasses import dataclass

from crc32c import crc32c


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Settings of the logs of a node; a topic's own settings replace them, field by field.

    ``log_flush_interval_ms`` is how often ``--fsync interval`` syncs. Apache Kafka's default is never, ours a second,
    since the policy has to be chosen first.
    """

    log_segment_bytes: int = 1024 * 1024 * 1024
    log_index_interval_bytes: int = 4096
    log_flush_interval_ms: int = 1_000
    log_retention_check_interval_ms: int = 300_000
    log_cleaner_enable: bool = True
    log_cleaner_backoff_ms: int = 15_000
    log_cleaner_dedupe_buffer_size: int = 128 * 1024 * 1024


DEFAULTS = LogSettings()


@dataclass(frozen=True, slots=True)
class SegmentAge:
    """How old a segment grows before the next one is begun (``segment.ms``), less up to ``jitter_ms``.

    The jitter comes from the segment's offset: it is another one for each segment and the same after a restart.
    """

    ms: int = 604_800_000
    jitter_ms: int = 0

    def limit_of(self, base_offset: int) -> int:
        if self.jitter_ms <= 0:
            return self.ms
        jitter = min(self.jitter_ms, self.ms)
        return self.ms - crc32c(base_offset.to_bytes(8, "big")) * jitter // 2**32
