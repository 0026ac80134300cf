"""Watches a consumer group and its topics from outside, with clients that stay open.

Owns: progress of the input, and whether a transaction is open. Must not know: workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import Consumer, ConsumerGroupState, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from tallystick.verify.oracle.read import NO_SETTINGS, PASSING_ERRORS, ask_committed

_TIMEOUT_S: Final = 20.0
_PENDING_TIMEOUT_S: Final = 1.0
_TIMED_OUT: Final = KafkaError._TIMED_OUT  # noqa: SLF001 - the client's public name for it


class GroupWatch:
    """The committed offsets of ``group`` over ``sources``, and the ends of ``sources`` and ``sinks``."""

    def __init__(
        self,
        bootstrap: str,
        group: str,
        sources: Iterable[str],
        sinks: Iterable[str],
        *,
        client: Mapping[str, str] = NO_SETTINGS,
    ) -> None:
        reach: dict[str, Any] = {"bootstrap.servers": bootstrap, **client}
        settings: dict[str, Any] = {
            **reach,
            "group.id": group,
            "enable.auto.commit": False,
            "allow.auto.create.topics": False,
            "log_level": 2,  # a broker that is killed on purpose is no news
        }
        self._group = group
        self._reach = reach
        self._admin: AdminClient | None = None
        self._stable = Consumer({**settings, "isolation.level": "read_committed"})
        self._raw = Consumer({**settings, "isolation.level": "read_uncommitted"})
        self._sources = self._partitions(sources)
        self._sinks = self._partitions(sinks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stable.close()
        self._raw.close()

    def members(self) -> int:
        """Members that have partitions in a stable generation; 0 while group or coordinator move."""
        self._admin = self._admin or AdminClient({**self._reach, "log_level": 2})
        future = self._admin.describe_consumer_groups([self._group], request_timeout=_TIMEOUT_S)[self._group]
        try:
            group = future.result(_TIMEOUT_S)
        except KafkaException as exception:
            if exception.args[0].code() not in PASSING_ERRORS | {_TIMED_OUT}:
                raise
            return 0
        if group.state != ConsumerGroupState.STABLE:
            return 0
        return sum(bool(member.assignment.topic_partitions) for member in group.members if member.assignment)

    def next_offsets(self, *, timeout_s: float = _TIMEOUT_S) -> dict[tuple[str, int], int]:
        """Committed offsets. Waits for pending ones; ``KafkaException`` past ``timeout_s``."""
        return ask_committed(self._stable, self._sources, timeout_s=timeout_s)

    def consumed_offsets(self) -> dict[tuple[str, int], int]:
        """Committed offsets; pending ones are neither waited for nor counted."""
        return ask_committed(self._raw, self._sources, timeout_s=_TIMEOUT_S)

    def remaining(self) -> int:
        """Input records that are not consumed yet; the source has no control records, so offsets are counts."""
        done = self.consumed_offsets()
        return sum(_end(self._stable, item) - done.get((item.topic, item.partition), 0) for item in self._sources)

    def ends(self, *, timeout_s: float) -> list[tuple[str, int, int, int]]:
        """Of each partition of the sinks: topic, number, last stable offset, high watermark."""
        return [
            (
                item.topic,
                item.partition,
                _end(self._stable, item, timeout_s=timeout_s),
                _end(self._raw, item, timeout_s=timeout_s),
            )
            for item in self._sinks
        ]

    def open_partitions(self) -> int:
        """Partitions of the sinks in which a transaction is open: stable offset below the high watermark."""
        return sum(_end(self._stable, item) < _end(self._raw, item) for item in self._sinks)

    def offsets_pending(self) -> bool:
        """Whether a transaction holds offsets of the group: stable ones do not come, others do (rule 3)."""
        ask_committed(self._raw, self._sources, timeout_s=_TIMEOUT_S)
        try:
            ask_committed(self._stable, self._sources, timeout_s=_PENDING_TIMEOUT_S)
        except KafkaException:
            return True
        return False

    def _partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        found: list[TopicPartition] = []
        for topic in topics:
            metadata = self._raw.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
            if metadata.error is not None:
                raise KafkaException(metadata.error)
            found.extend(TopicPartition(topic, partition) for partition in sorted(metadata.partitions))
        return found


def _end(consumer: Consumer, item: TopicPartition, *, timeout_s: float = _TIMEOUT_S) -> int:
    _, end = consumer.get_watermark_offsets(item, timeout=timeout_s, cached=False)
    return int(end)
