"""Every bound of the broker in one place. Where Apache Kafka has the same bound, ours is its default."""

from __future__ import annotations

from typing import Final

MAX_FRAME_BYTES: Final = 100 * 1024 * 1024
MAX_BATCH_BYTES: Final = 1_048_588
MAX_CONNECTIONS: Final = 4_000
MAX_UNSENT_RESPONSES: Final = 64
"""Responses of one connection that may wait for the disk before the next request of it is read."""
MAX_FETCH_WAIT_MS: Final = 60_000
MAX_FETCH_BYTES: Final = 55 * 1024 * 1024
MAX_TOPIC_NAME_LENGTH: Final = 249
MAX_PARTITIONS_PER_TOPIC: Final = 10_000
MAX_JOURNAL_RECORD_BYTES: Final = 16 * 1024 * 1024

TICK_MS: Final = 50
