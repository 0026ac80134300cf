"""At-most-once: commit the offsets, then process. May lose, never repeats.

Owns: that order. Must not know: transactions. What fails after the commit is lost, and counted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import structlog

from tallystick.errors import AbortableError, FatalError, RetriableError
from tallystick.killpoints import reach
from tallystick.pipeline import places
from tallystick.pipeline.batch import Batch
from tallystick.pipeline.kafka_client import Producer
from tallystick.pipeline.patience import GaveUp
from tallystick.pipeline.records import Output
from tallystick.pipeline.strategy import Parts
from tallystick.pipeline.work import WorkFailed, WorkPostponed

log = structlog.get_logger(__name__)


class AtMostOnce:
    """Nothing is ever rewound once its offset is committed; work is tried again in memory only."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._producer: Producer = parts.make_producer()

    def start(self) -> None:
        """Nothing can be open."""

    def changed(self, how: str) -> None:  # noqa: ARG002  # one port for all guarantees
        self._parts.work.assignment_changed()

    def deliver(self, batch: Batch) -> None:
        parts = self._parts
        reach(places.AFTER_POLL)
        reach(places.BEFORE_COMMIT)
        parts.positions.refresh_notes()
        began_s = time.perf_counter()
        try:
            parts.patience.call("commit", lambda: parts.positions.commit(batch.positions))
        except AbortableError as error:
            # The group moved on: the batch belongs to the next owner, and none of it was processed.
            parts.counters.aborts["assignment"] += 1
            log.warning("rewind", cause="assignment", error=str(error))
            parts.positions.rewind()
            return
        parts.counters.commits_took.observe(time.perf_counter() - began_s)
        parts.counters.positions.update(batch.positions)
        parts.counters.commits += 1
        parts.counters.records_in += len(batch.records)
        reach(places.AFTER_COMMIT)
        self._produce(self._process(batch))
        parts.counters.batches_took.observe(time.perf_counter() - began_s)

    def idle(self) -> None:
        self._producer.poll()

    def close(self) -> None:
        self._producer.discard()

    def _process(self, batch: Batch) -> Sequence[Output]:
        try:
            outputs, dead_letters = self._parts.work.process(batch)
        except WorkFailed:
            return [output for single in _singles(batch) for output in self._process_single(single)]
        except WorkPostponed as failure:
            self._lose(len(batch.records), failure)
            return []
        self._parts.work.finished(batch)
        self._parts.counters.dead_letters += dead_letters
        reach(places.AFTER_PROCESS)
        return outputs

    def _process_single(self, batch: Batch) -> Sequence[Output]:
        while True:  # bounded by the policy's tries: then the record is a dead letter
            try:
                outputs, dead_letters = self._parts.work.process(batch)
            except WorkFailed:
                continue
            except WorkPostponed as failure:
                self._lose(1, failure)
                return []
            self._parts.work.finished(batch)
            self._parts.counters.dead_letters += dead_letters
            return outputs

    def _produce(self, outputs: Sequence[Output]) -> None:
        try:
            self._producer.produce(outputs)
            reach(places.AFTER_PRODUCE)
            self._parts.patience.call("flush", self._producer.flush)
            self._parts.counters.records_out += len(outputs)
        except (AbortableError, RetriableError) as error:
            self._lose(self._producer.take_failures(), error)
        except GaveUp:
            raise
        except FatalError as error:
            self._parts.counters.producers_discarded["fatal"] += 1
            self._producer.discard()
            self._producer = self._parts.make_producer()
            self._lose(len(outputs), error)

    def _lose(self, count: int, error: BaseException) -> None:
        self._parts.counters.lost_records += count
        log.warning("lost", records=count, error=str(error))


def _singles(batch: Batch) -> list[Batch]:
    return [
        replace(
            batch,
            records=(record,),
            rejected={0: batch.rejected[index]} if index in batch.rejected else {},
        )
        for index, record in enumerate(batch.records)
    ]
