"""The one port between the processing cycle and whatever does the processing.

Owns: ``Processor``. Must not know: Kafka, SQL. A decorated function becomes a processor in ``pipeline.app``; a SQL
effect is one in ``boundary.sql``. The cycle only ever sees this interface.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tallystick.pipeline.records import Output, Record


class Processor(Protocol):
    """Turns a batch of records into outputs, one list of outputs for each input, in input order.

    ``process`` may be called again with the same records after an abort or a restart, in other batches. An effect
    outside Kafka must therefore be committed, idempotently, before ``process`` returns (rule 25).
    """

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output]]:
        """Outputs for each record. Raising fails the batch; what happens then is the failure policy's business."""
        ...

    def close(self) -> None:
        """Release what the processor holds; called once, after the last batch."""
        ...
