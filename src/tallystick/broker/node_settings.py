"""What the node as a whole is told, with Apache Kafka's names: ``num_partitions`` is ``num.partitions``.

Owns: the values and their defaults. Must not know: where they come from, who honours them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """Defaults are Apache Kafka's, but for ``num_partitions`` (1 there), and ``node_id``, which has none there."""

    node_id: int = 1
    broker_rack: str | None = None
    """Told to clients in Metadata and DescribeCluster."""
    num_partitions: int = 4
    """Of a topic that is made without a number."""
    auto_create_topics_enable: bool = True
    """Whether Metadata makes a topic that it is asked for, if the client allows it, too."""
    delete_topic_enable: bool = True
    max_incremental_fetch_session_cache_slots: int = 1_000
    """How many fetch sessions are kept (KIP-227); 0: none."""
    max_request_partition_size_limit: int = 2_000
    """The most partitions that one DescribeTopicPartitions is answered with."""
    fetch_max_bytes: int = 55 * 1024 * 1024
    """The most that one Fetch is answered with, whatever it asks for."""


DEFAULTS: Final = NodeSettings()
