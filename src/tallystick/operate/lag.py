"""How far a group is behind: to the last stable offset, which is all that it may read, and to the end of the log.

Owns: the two numbers, and why they differ. Must not know: how they are shown.

A reader under ``read_committed`` stops at the last stable offset. What lies between it and the high watermark belongs
to transactions that are open: no reader is slow there, a writer is (rule 9). Offsets are not contiguous, so a lag is
an upper bound of the records to come.
"""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.operate.cluster import Cluster, TopicPartition
from tallystick.operate.groups import committed_offsets
from tallystick.operate.offsets import LATEST, list_offsets
from tallystick.operate.producers import active_producers


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """``open_since_ms`` is how long ago the oldest open transaction was last written to; None without one."""

    place: TopicPartition
    committed_offset: int
    last_stable_offset: int
    high_watermark: int
    open_since_ms: int | None = None

    @property
    def lag_records(self) -> int:
        """To the last stable offset, at least 0."""
        return max(0, self.last_stable_offset - self.committed_offset)

    @property
    def withheld_records(self) -> int:
        """Between the last stable offset and the high watermark: written, and not to be read yet."""
        return self.high_watermark - self.last_stable_offset


def group_lag(cluster: Cluster, group: str, *, now_ms: int) -> list[PartitionLag]:
    """For each partition that the group has an offset in. Partitions of topics that are gone raise ``UnknownTopic``."""
    committed = committed_offsets(cluster, group)
    # The stable end first: read the other way round, a transaction that ended in between would count as withheld.
    stable = list_offsets(cluster, dict.fromkeys(committed, LATEST), stable=True)
    ends = list_offsets(cluster, dict.fromkeys(committed, LATEST), stable=False)
    withheld = [place for place in committed if ends[place] > stable[place]]
    since: dict[TopicPartition, int] = {}
    for producer in active_producers(cluster, withheld):
        if producer.open_from == stable[producer.place]:
            since[producer.place] = max(0, now_ms - producer.last_write_ms)
    return [
        PartitionLag(place, committed[place].offset, stable[place], ends[place], since.get(place))
        for place in sorted(committed)
    ]
