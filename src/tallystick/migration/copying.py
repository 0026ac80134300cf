"""The copy: exactly once, and resumed where it was killed.

Owns: the transactions of the copy and its progress. Must not know: groups, what forbids a migration.

The progress is a committed offset on the target, under a group of the migration's own, in the transaction of the
records that it stands for. The group has no members; who writes is fenced by the transactional id (rule 5), so that of
two migrations at the same time one ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import chain
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from tallystick.errors import FatalError, RetriableError
from tallystick.ids import EVENT_ID_HEADER
from tallystick.killpoints import declare, reach
from tallystick.migration.side import Side
from tallystick.migration.survey import COPIES_GROUP
from tallystick.operate import Cluster
from tallystick.operate.groups import committed_offsets
from tallystick.pipeline.kafka_client import read_ranges

Place = tuple[str, int]

BATCH_RECORDS: Final = 5_000
_TIMEOUT_S: Final = 60.0

IN_BATCH: Final = declare("migration.in-batch", "records of a copy are written, their transaction is open")
AFTER_BATCH: Final = declare("migration.after-batch", "a part of the copy is committed")


class Copy:
    """One run of the copy, over all partitions at once."""

    def __init__(self, source: Side, target: Side) -> None:
        self._source = source
        self._target = target
        self.group = f"{COPIES_GROUP}.{source.cluster_id}"
        self._member = Consumer(target.client | {"group.id": self.group})  # joins nothing: it gives the group's name
        self._producer = Producer(
            target.client
            | {
                "transactional.id": self.group,
                "transaction.timeout.ms": 60_000,
                "linger.ms": 20,
                "queue.buffering.max.messages": 2 * BATCH_RECORDS + 100_000,
                "delivery.report.only.error": True,
            }
        )

    def begin(self, cluster: Cluster) -> dict[Place, int]:
        """Fence whoever else copies, and find how far the copy came: source offsets by partition."""
        self._do(self._producer.init_transactions, _TIMEOUT_S)
        stored = committed_offsets(cluster, self.group, stable=True)
        return {(place.topic, place.partition): one.offset for place, one in stored.items()}

    def claim(self, begins: Mapping[Place, int]) -> None:
        """Have a progress for each partition before anything is written to it.

        A first batch that is killed leaves aborted records: without a progress they would look like somebody else's.
        """
        self._do(self._producer.begin_transaction)
        self._end(begins)

    def run(self, begins: Mapping[Place, int], ends: Mapping[Place, int], progress: Callable[[int], None]) -> int:
        """Copy from ``begins`` up to ``ends``; the number of records. ``progress`` gets offsets as they are done."""
        wanted = {place: (begins[place], end) for place, end in ends.items() if begins[place] < end}
        if not wanted:
            return 0
        ids = {place: self._source.ids(*place) for place in wanted}
        batch: list[Any] = []
        reached, copied = dict(begins), 0
        with closing(read_ranges(self._source.client, wanted)) as reading:
            for message in chain.from_iterable(reading):
                batch.append(message)
                if len(batch) == BATCH_RECORDS:
                    copied += self._commit(batch, ids, reached, progress)
                    batch = []
        reached_all = {place: end for place, (_, end) in wanted.items()}
        return copied + self._commit(batch, ids, reached, progress, ends=reached_all)

    def close(self) -> None:
        self._member.close()

    def _commit(
        self,
        batch: list[Any],
        ids: Mapping[Place, Any],
        reached: dict[Place, int],
        progress: Callable[[int], None],
        *,
        ends: Mapping[Place, int] | None = None,
    ) -> int:
        """One transaction; ``ends`` says that this was all, so that markers at the end count as done."""
        before = sum(reached.values())
        self._do(self._producer.begin_transaction)
        for message in batch:
            place = (message.topic(), message.partition())
            moved = self._source.moved(message, ids[place])
            headers: list[tuple[str, Any]] = [(EVENT_ID_HEADER, moved.event_id.encode()), *moved.headers]
            self._produce(place, moved.key, moved.value, headers, moved.timestamp_ms)
            reached[place] = moved.offset + 1
        reached.update(ends or {})
        self._do(self._producer.flush, _TIMEOUT_S)
        reach(IN_BATCH)
        self._end(reached)
        reach(AFTER_BATCH)
        progress(sum(reached.values()) - before)
        return len(batch)

    def _end(self, reached: Mapping[Place, int]) -> None:
        offsets = [TopicPartition(*place, offset) for place, offset in reached.items()]
        member = self._member.consumer_group_metadata()
        self._do(self._producer.send_offsets_to_transaction, offsets, member, _TIMEOUT_S)
        self._do(self._producer.commit_transaction, _TIMEOUT_S)

    def _produce(self, place: Place, key: Any, value: Any, headers: list[tuple[str, Any]], timestamp_ms: int) -> None:
        for _attempt in range(600):
            try:
                self._producer.produce(place[0], value, key, place[1], headers=headers, timestamp=timestamp_ms)
            except BufferError:
                self._producer.poll(0.1)
                continue
            except KafkaException as error:
                raise FatalError(f"a record of {place[0]}-{place[1]} was refused: {error}") from error
            return
        raise RetriableError(f"the queue of the copy stayed full for a minute, at {place[0]}-{place[1]}")

    def _do(self, call: Callable[..., Any], *arguments: Any) -> None:
        """What goes wrong ends this run: the next one settles its transaction and goes on after the last commit."""
        try:
            call(*arguments)
        except KafkaException as error:
            raise FatalError(
                f"the copy stopped: {error.args[0].str()}. Run the command again: it goes on where this one ended"
            ) from error
