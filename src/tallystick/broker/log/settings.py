"""What the log may be told, with Apache Kafka's names and defaults.

Owns: the values. Must not know: who reads them from a file, who honours them.

A field is named like Apache Kafka's broker setting with underscores for dots (``log.segment.bytes`` is
``log_segment_bytes``), so that the mapping needs no table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Settings of the logs of a node; a topic's own settings replace them, field by field.

    ``log_flush_interval_ms`` is how often ``--fsync interval`` syncs. Apache Kafka's default is never, ours a second,
    since the policy has to be chosen first.
    """

    log_segment_bytes: int = 1024 * 1024 * 1024
    log_index_interval_bytes: int = 4096
    log_flush_interval_ms: int = 1_000


DEFAULTS = LogSettings()
