"""The one port between the processing cycle and whatever does the processing.

Owns: ``Processor`` and ``Poisoned``. Must not know: Kafka, SQL. A decorated function becomes a processor in
``pipeline.functions``; a SQL effect is one in ``boundary.sql``. The cycle only ever sees this interface.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tallystick.pipeline.records import Output, Record


@dataclass(frozen=True, slots=True)
class Poisoned:
    """A processor's verdict that one record can never be processed, in the place of its outputs."""

    record: Record
    cause: BaseException
    tries: int


class Processor(Protocol):
    """Turns a batch of records into outputs, one list of outputs for each input, in input order.

    ``process`` may be called again with the same records after an abort or a restart, in other batches. An effect
    outside Kafka must therefore be committed, idempotently, before ``process`` returns (rule 25).
    """

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output] | Poisoned]:
        """Outputs for each record, or the verdict on it.

        What is raised decides what happens to the batch, which in each case contributes nothing:
        ``RetriableError`` and ``AmbiguousOutcome`` (a database that is away): again after a pause, and no record is
        blamed; ``FencedError``, ``FatalError``, ``ConfigurationError``, ``IllegalTransition``: the worker stops;
        anything else: a record is at fault, the batch is tried again one record at a time, and the step's
        ``ErrorPolicy`` says what becomes of the one that keeps failing.
        """
        ...

    def close(self) -> None:
        """Release what the processor holds; called once, after the last batch."""
        ...
