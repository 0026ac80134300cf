"""Who writes to a partition, and whose transaction is open there (DescribeProducers, KIP-664).

Owns: the leader's side of transactions. Must not know: what a coordinator believes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tallystick.operate.cluster import Cluster, TopicPartition, check
from tallystick.operate.connection import Versions
from tallystick.operate.offsets import by_topic

DESCRIBE_PRODUCERS: Final = Versions("describe_producers", 0, 0)


@dataclass(frozen=True, slots=True)
class ActiveProducer:
    """``open_from`` is the first offset of its open transaction, None without one; ``last_write_ms`` since 1970."""

    place: TopicPartition
    producer_id: int
    producer_epoch: int
    last_sequence: int
    last_write_ms: int
    coordinator_epoch: int
    open_from: int | None


def active_producers(cluster: Cluster, places: Iterable[TopicPartition]) -> list[ActiveProducer]:
    """Of these partitions, in their order."""
    wanted = list(places)

    def ask() -> list[ActiveProducer]:
        found = []
        for connection, led in cluster.by_leader(wanted):
            topics = tuple(
                connection.part(
                    DESCRIBE_PRODUCERS,
                    "TopicRequest",
                    name=topic,
                    partition_indexes=tuple(place.partition for place in parts),
                )
                for topic, parts in by_topic(led).items()
            )
            for topic in connection.ask(DESCRIBE_PRODUCERS, topics=topics).topics:
                for part in topic.partitions:
                    place = TopicPartition(topic.name, int(part.partition_index))
                    check(part.error_code, f"the producers of {place}", part.error_message)
                    found += [
                        ActiveProducer(
                            place=place,
                            producer_id=int(row.producer_id),
                            producer_epoch=int(row.producer_epoch),
                            last_sequence=int(row.last_sequence),
                            last_write_ms=int(row.last_timestamp),
                            coordinator_epoch=int(row.coordinator_epoch),
                            open_from=int(row.current_txn_start_offset) if row.current_txn_start_offset >= 0 else None,
                        )
                        for row in part.active_producers
                    ]
        return sorted(found, key=lambda producer: (producer.place, producer.producer_id))

    return cluster.settled(ask)
