"""What a SQL effect calls: a function for each record, or one for the whole batch.

Owns: the shapes of both, and calling them. Must not know: the inbox; only new events get here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sqlalchemy import Connection

from tallystick.errors import ConfigurationError
from tallystick.pipeline.records import Output, Record

Outputs = Sequence[tuple[Output, ...]]


class Handler(Protocol):
    """What one record does to the database. It may only write through ``connection``, and never commits."""

    def __call__(self, connection: Connection, record: Record) -> Iterable[Output] | None:
        """Write the record's rows; return or yield its outputs."""
        ...


@runtime_checkable
class BatchHandler(Protocol):
    """A handler that also wants the batch's edges, to read ahead or to write in bulk. Outputs stay per record."""

    def __call__(self, connection: Connection, record: Record) -> Iterable[Output] | None: ...

    def begin_batch(self, connection: Connection, records: Sequence[Record]) -> None:
        """Called with the new records of a batch, before the first of them."""
        ...

    def end_batch(self, connection: Connection, records: Sequence[Record]) -> None:
        """Called after the last of them, before the commit."""
        ...


class BatchFunction(Protocol):
    """What a whole batch of new records does to the database."""

    def __call__(self, connection: Connection, records: Sequence[Record]) -> Sequence[Iterable[Output]] | None:
        """Write the rows of all of them; None, or one list of outputs for each record.

        Never one result for all: the batches of a replay are others, so that a sum over a batch would be another sum
        (rule 25).
        """
        ...


@dataclass(frozen=True, slots=True)
class PerBatch:
    """Wraps a ``BatchFunction``, to give it to ``SqlEffect`` in a handler's place."""

    function: BatchFunction


def run_handler(
    handler: Handler | BatchHandler | PerBatch, connection: Connection, records: Sequence[Record]
) -> Outputs:
    """The outputs of each record, in order; an empty sequence if there are none at all."""
    if not records:
        return ()
    if isinstance(handler, PerBatch):
        results = handler.function(connection, records)
        if results is None:
            return ()
        if len(results) != len(records):
            raise ConfigurationError(
                f"a batch function gave {len(results)} results for {len(records)} records",
                rule=25,
                remedy="Return None, or one list of outputs for each record",
            )
        return [tuple(outputs) for outputs in results]
    edges = handler if isinstance(handler, BatchHandler) else None
    if edges is not None:
        edges.begin_batch(connection, records)
    outputs = [tuple(handler(connection, record) or ()) for record in records]
    if edges is not None:
        edges.end_batch(connection, records)
    return outputs
