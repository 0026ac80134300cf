"""Offsets of partitions: where a log begins and ends, and where a point in time lies in it.

Owns: ListOffsets. Must not know: groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from tallystick.operate.cluster import Cluster, TopicPartition, check
from tallystick.operate.connection import Versions

LIST_OFFSETS: Final = Versions("list_offsets", 4, 7)
EARLIEST: Final = -2
LATEST: Final = -1
"""With ``stable`` the last stable offset, else the high watermark."""


def list_offsets(cluster: Cluster, times: Mapping[TopicPartition, int], *, stable: bool) -> dict[TopicPartition, int]:
    """The offset at each time, in milliseconds since 1970 or one of the names above; -1 if nothing is that young."""

    def ask() -> dict[TopicPartition, int]:
        found = {}
        for connection, places in cluster.by_leader(times):
            topics = tuple(
                connection.part(
                    LIST_OFFSETS,
                    "ListOffsetsTopic",
                    name=topic,
                    partitions=tuple(
                        connection.part(
                            LIST_OFFSETS,
                            "ListOffsetsPartition",
                            partition_index=place.partition,
                            current_leader_epoch=-1,
                            timestamp=times[place],
                        )
                        for place in parts
                    ),
                )
                for topic, parts in by_topic(places).items()
            )
            answer = connection.ask(LIST_OFFSETS, replica_id=-1, isolation_level=int(stable), topics=topics)
            for topic in answer.topics:
                for row in topic.partitions:
                    place = TopicPartition(topic.name, int(row.partition_index))
                    check(row.error_code, f"the offsets of {place}")
                    found[place] = int(row.offset)
        return found

    return cluster.settled(ask)


def by_topic(places: Iterable[TopicPartition]) -> dict[str, list[TopicPartition]]:
    """The partitions under the names of their topics, both in order."""
    grouped: dict[str, list[TopicPartition]] = {}
    for place in sorted(places):
        grouped.setdefault(place.topic, []).append(place)
    return grouped
