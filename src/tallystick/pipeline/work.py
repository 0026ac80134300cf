"""The work on a batch: processor, dead letters, and the verdict when it fails. The same under each guarantee.

Owns: ``BatchWork`` and the three ways in which work does not get done. Must not know: transactions, librdkafka.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import msgspec
import structlog

from tallystick.errors import (
    AbortableError,
    AmbiguousOutcome,
    ConfigurationError,
    RetriableError,
    TallystickError,
)
from tallystick.pipeline.batch import Batch
from tallystick.pipeline.failures import FailureBook, dead_letter
from tallystick.pipeline.outputs import Results
from tallystick.pipeline.policy import ErrorPolicy, OnFailure, StoppedByPolicy
from tallystick.pipeline.polled import Polled
from tallystick.pipeline.ports import Poisoned, Processor
from tallystick.pipeline.records import UNSTAMPED, Output, Record
from tallystick.pipeline.tracing import Tracing

log = structlog.get_logger(__name__)

R = TypeVar("R")


@runtime_checkable
class InBulk(Protocol):
    """A processor that can do without an object for each record."""

    def process_all(self, records: Polled) -> Results:
        """As ``Processor.process``, by columns."""
        ...


@runtime_checkable
class KnowsAssignments(Protocol):
    """A processor that wants to know when partitions come or go, such as one that writes under an owner's epoch."""

    def assignment_changed(self) -> None:
        """Called in the thread that calls ``process``, before the next batch."""
        ...


class WorkNotDone(TallystickError):
    """Base of the three verdicts; ``cause`` is what the processor raised."""

    def __init__(self, message: str, cause: BaseException) -> None:
        self.cause = cause
        super().__init__(message)


class WorkFailed(WorkNotDone):
    """A record of the batch is at fault: rewind, and try the records one by one."""


class WorkPostponed(WorkNotDone):
    """Something outside is away (a database): rewind, pause, try the same again. No record is blamed."""


class WorkStopped(WorkNotDone):
    """The worker has to stop: raise ``cause``."""


class BatchWork:
    """One step's processor with its error policy."""

    def __init__(
        self,
        processor: Processor,
        *,
        step: str,
        policy: ErrorPolicy,
        dead_letter_topic: str,
        tracing: Tracing | None = None,
    ) -> None:
        self._processor = processor
        self._step = step
        self._policy = policy
        self._dead_letter_topic = dead_letter_topic
        self._tracing = tracing
        self.failures = FailureBook()

    def process(self, batch: Batch) -> tuple[Sequence[Output], int]:
        """The outputs of the batch in input order, dead letters among them, and the number of those."""
        if self._tracing is not None:
            self._tracing.begin(batch)
        condemned = self._condemned(batch)
        if not condemned and self._tracing is None and isinstance(self._processor, InBulk):
            bulk = self._results_in_bulk(self._processor, batch.records)
            return self._with_dead_letters(bulk), len(bulk.poisoned)
        good = [record for index, record in enumerate(batch.records) if index not in condemned]
        results = iter(self._results(good) if good else ())
        outputs: list[Output] = []
        dead = 0
        for index, record in enumerate(batch.records):
            result = condemned[index] if index in condemned else next(results)
            if isinstance(result, Poisoned):
                dead += 1
                outputs.append(self._dead_letter(result))
            else:
                outputs.extend(_inheriting(result, record))
        return outputs, dead

    def assignment_changed(self) -> None:
        """Partitions came or went: failures are forgotten, and the processor is told if it wants to know."""
        self.failures.forget()
        if isinstance(self._processor, KnowsAssignments):
            self._processor.assignment_changed()

    def finished(self, batch: Batch) -> None:
        """The batch counts: forget its failures."""
        if self._tracing is not None:
            self._tracing.end("committed")
        if self.failures.is_empty:
            return
        for record in batch.records:
            self.failures.done(record)

    def output_refused(self, batch: Batch, error: Exception) -> None:
        """Kafka will never take an output of this batch: find the record, and condemn it when its tries are used up.

        ``WorkStopped`` if it is condemned already: then it is its dead letter that Kafka does not take.
        """
        if len(batch.records) > 1:
            self.failures.batch_failed(batch.records)
        elif self.failures.verdict(batch.records[0]) is not None:
            stopped = ConfigurationError(
                f"the dead letter of {_place(batch.records[0])} is refused as well: {error}",
                remedy=f"Raise max.message.bytes of {self._dead_letter_topic}, and message.max.bytes of the producer",
            )
            raise WorkStopped(str(stopped), stopped) from error
        elif self.failures.record_failed(batch.records[0]) >= self._policy.tries:
            self.failures.condemn(batch.records[0], error)

    def close(self) -> None:
        if self._tracing is not None:
            self._tracing.end("taken back")
        self._processor.close()

    def _condemned(self, batch: Batch) -> dict[int, Poisoned]:
        """The records that are not to be processed, by index."""
        if not batch.rejected and self.failures.is_empty:
            return {}
        condemned = {}
        for index, record in enumerate(batch.records):
            cause = batch.rejected.get(index) or self.failures.verdict(record)
            if cause is not None:
                condemned[index] = Poisoned(record, cause, self._policy.tries)
        return condemned

    def _results(self, records: Sequence[Record]) -> Sequence[Sequence[Output] | Poisoned]:
        results = self._told_apart(records, lambda: self._called(records))
        if isinstance(results, Poisoned):
            return [results]
        if len(results) != len(records):
            bug = TypeError(f"{self._place(records)}: the processor returned {len(results)} results")
            raise WorkStopped(str(bug), bug)
        return results

    def _called(self, records: Sequence[Record]) -> Sequence[Sequence[Output] | Poisoned]:
        if self._tracing is None:
            return self._processor.process(records)
        return self._tracing.process(self._processor, records)

    def _results_in_bulk(self, processor: InBulk, records: Sequence[Record]) -> Results:
        polled = records if isinstance(records, Polled) else Polled.of(records)
        results = self._told_apart(polled, lambda: processor.process_all(polled))
        return Results((), [(0, results)]) if isinstance(results, Poisoned) else results

    def _told_apart(self, records: Sequence[Record], call: Callable[[], R]) -> R | Poisoned:
        """What ``call`` returns, the verdict on a record that failed alone, or what it raised as one of ours."""
        try:
            return call()
        except (RetriableError, AmbiguousOutcome, AbortableError) as error:
            raise WorkPostponed(f"{self._place(records)}: {error}", error) from error
        except TallystickError as error:
            raise WorkStopped(f"{self._place(records)}: {error}", error) from error
        except Exception as error:  # noqa: BLE001  # the edge of user code: a verdict about a record
            return self._failed(records, error)

    def _failed(self, records: Sequence[Record], error: Exception) -> Poisoned:
        place = self._place(records)
        if len(records) > 1:
            self.failures.batch_failed(records)
            raise WorkFailed(f"{place}: {error!r}", error) from error
        tries = self.failures.record_failed(records[0])
        if tries < self._policy.tries:
            raise WorkFailed(f"{place}, try {tries} of {self._policy.tries}: {error!r}", error) from error
        return Poisoned(records[0], error, tries)

    def _place(self, records: Sequence[Record]) -> str:
        return f"step {self._step!r}, {len(records)} records from {_place(records[0])}"

    def _with_dead_letters(self, results: Results) -> Sequence[Output]:
        if not results.poisoned:
            return results.outputs
        outputs, before = list(results.outputs), 0
        merged: list[Output] = []
        for position, poisoned in results.poisoned:
            merged += outputs[before:position]
            merged.append(self._dead_letter(poisoned))
            before = position
        return merged + outputs[before:]

    def _dead_letter(self, poisoned: Poisoned) -> Output:
        record, cause = poisoned.record, poisoned.cause
        if self._policy.then is OnFailure.STOP:
            stopped = StoppedByPolicy(step=self._step, place=_place(record), cause=cause)
            stopped.__cause__ = cause
            raise WorkStopped(str(stopped), stopped)
        log.warning("dead letter", step=self._step, place=_place(record), event_id=record.event_id, cause=repr(cause))
        return dead_letter(record, cause, topic=self._dead_letter_topic, step=self._step, tries=poisoned.tries)


def _inheriting(outputs: Sequence[Output], record: Record) -> Sequence[Output]:
    """The outputs of a record, whose timestamp is theirs unless they have one."""
    stamp = record.timestamp_ms
    if stamp <= UNSTAMPED or all(one.timestamp_ms is not None for one in outputs):
        return outputs
    return [
        one if one.timestamp_ms is not None else msgspec.structs.replace(one, timestamp_ms=stamp) for one in outputs
    ]


def _place(record: Record) -> str:
    return f"{record.topic}-{record.partition}@{record.offset}"
