"""At-least-once: process, wait until every output is acknowledged, then commit the offsets. May repeat, never loses.

Owns: that order. Must not know: transactions.
"""

from __future__ import annotations

import time
from typing import Final

import structlog

from tallystick.errors import AbortableError, AmbiguousOutcome, FatalError, RetriableError
from tallystick.killpoints import reach
from tallystick.pipeline import places
from tallystick.pipeline.batch import Batch
from tallystick.pipeline.kafka_client import OutputRefused, Producer
from tallystick.pipeline.patience import GaveUp
from tallystick.pipeline.strategy import Parts
from tallystick.pipeline.work import WorkFailed, WorkPostponed

log = structlog.get_logger(__name__)

_FAILURES_IN_A_ROW: Final = 100


class AtLeastOnce:
    """A batch that fails anywhere is rewound and done again, outputs and all."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._producer: Producer = parts.make_producer()
        self._failures_in_a_row = 0

    def start(self) -> None:
        """Nothing can be open."""

    def changed(self, how: str) -> None:  # noqa: ARG002  # one port for all guarantees
        self._parts.work.assignment_changed()

    def deliver(self, batch: Batch) -> None:
        reach(places.AFTER_POLL)
        try:
            self._do(batch)
        except WorkFailed as failure:
            self._rewind("step-failed", failure)
        except OutputRefused as error:
            self._parts.work.output_refused(batch, error)
            self._rewind("output-refused", error)
        except WorkPostponed as failure:
            self._rewind("step-postponed", failure)
            self._pause(failure)
        except (AbortableError, RetriableError, AmbiguousOutcome) as error:
            self._rewind("producer", error)
            self._pause(error)
        except GaveUp:
            raise
        except FatalError as error:
            self._parts.counters.producers_discarded["fatal"] += 1
            self._producer.discard()
            self._producer = self._parts.make_producer()
            self._rewind("producer", error)
            self._pause(error)

    def idle(self) -> None:
        self._producer.poll()

    def close(self) -> None:
        self._producer.discard()

    def _do(self, batch: Batch) -> None:
        parts, began_s = self._parts, time.perf_counter()
        outputs, dead_letters = parts.work.process(batch)
        reach(places.AFTER_PROCESS)
        self._producer.produce(outputs)
        reach(places.AFTER_PRODUCE)
        parts.patience.call("flush", self._producer.flush)
        reach(places.BEFORE_COMMIT)
        parts.positions.refresh_notes()
        asked_s = time.perf_counter()
        parts.patience.call("commit", lambda: parts.positions.commit(batch.positions))
        now_s = time.perf_counter()
        parts.counters.commits_took.observe(now_s - asked_s)
        parts.counters.batches_took.observe(now_s - began_s)
        parts.counters.positions.update(batch.positions)
        parts.work.finished(batch)
        parts.counters.commits += 1
        parts.counters.records_in += len(batch.records)
        parts.counters.records_out += len(outputs)
        parts.counters.dead_letters += dead_letters
        self._failures_in_a_row = 0
        reach(places.AFTER_COMMIT)

    def _rewind(self, cause: str, error: BaseException) -> None:
        self._parts.counters.aborts[cause] += 1
        log.warning("rewind", cause=cause, error=str(error))
        self._producer.take_failures()
        self._parts.positions.rewind()

    def _pause(self, error: BaseException) -> None:
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= _FAILURES_IN_A_ROW:
            raise GaveUp(f"{self._failures_in_a_row} batches in a row failed, the last because: {error}") from error
        self._parts.patience.pause(self._failures_in_a_row)
