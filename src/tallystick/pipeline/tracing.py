"""Spans of what a step does, for programs that have set up OpenTelemetry; nothing at all for others.

Owns: the names and attributes of spans (OpenTelemetry's conventions for messaging), and the trace context in headers
(W3C Trace Context, https://www.w3.org/TR/trace-context/). Must not know: transactions, exporters.

A record's span is a child of the one in its headers, and its outputs carry that of the record: so one trace follows an
event through all steps. A batch has a span of its own, linked to those of its records, which ends when the batch is
committed or taken back: records that were processed twice show two spans, and their batches which of them counted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tallystick.pipeline.batch import Batch
from tallystick.pipeline.ports import Poisoned, Processor
from tallystick.pipeline.records import Headers, Output, Record

try:
    from opentelemetry import context as contexts
    from opentelemetry import trace
    from opentelemetry.propagate import extract, inject
except ModuleNotFoundError:  # it is not a dependency: who wants spans has it already
    HAS_API = False
else:
    HAS_API = True

INSTRUMENTATION: Final = "tallystick.pipeline"

Results = Sequence[Sequence[Output] | Poisoned]


class Tracing:
    """One lane's spans. Made once its application is loaded, so that it sees the provider which that has set."""

    def __init__(self, tracer: Any, *, step: str, group: str) -> None:
        self._tracer = tracer
        self._step = step
        self._group = group
        self._batch: Any = None

    @classmethod
    def found(cls, *, step: str, group: str) -> Tracing | None:
        """None if the program has set no tracer provider: then nothing is done for any record."""
        if not HAS_API or isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            return None
        return cls(trace.get_tracer(INSTRUMENTATION), step=step, group=group)

    def process(self, processor: Processor, records: Sequence[Record]) -> Results:
        """As ``processor.process``. What takes records one by one has each record's span around it."""
        if getattr(processor, "takes_one_by_one", False):
            return [self._one(processor, record) for record in records]
        return self._many(processor, records)

    def begin(self, batch: Batch) -> None:
        """The batch is tried; one that had begun before, and did not count, was taken back."""
        self.end("taken back")
        links = [trace.Link(span) for record in batch.records if (span := _span_context(record)).is_valid]
        self._batch = self._tracer.start_span(
            f"batch {self._step}",
            kind=trace.SpanKind.INTERNAL,
            links=links,
            attributes={
                "messaging.system": "kafka",
                "messaging.batch.message_count": len(batch.records),
                "messaging.consumer.group.name": self._group,
                "tallystick.step": self._step,
            },
        )

    def end(self, outcome: str) -> None:
        """How the batch that is open ended: "committed", or "taken back"."""
        if self._batch is None:
            return
        self._batch.set_attribute("tallystick.outcome", outcome)
        if outcome != "committed":
            self._batch.set_status(trace.StatusCode.ERROR, outcome)
        self._batch.end()
        self._batch = None

    def _one(self, processor: Processor, record: Record) -> Sequence[Output] | Poisoned:
        span = self._start(record, time.time_ns())
        token = contexts.attach(trace.set_span_in_context(span))
        try:
            (result,) = processor.process([record])
        except BaseException as error:
            span.record_exception(error)
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise
        else:
            return self._finished(span, result)
        finally:
            contexts.detach(token)
            span.end()

    def _many(self, processor: Processor, records: Sequence[Record]) -> Results:
        began_ns = time.time_ns()
        token = contexts.attach(trace.set_span_in_context(self._batch)) if self._batch is not None else None
        try:
            results = processor.process(records)
        finally:
            if token is not None:
                contexts.detach(token)
        if len(results) != len(records):
            return results  # whoever called this says what is wrong with it
        traced: list[Sequence[Output] | Poisoned] = []
        for record, result in zip(records, results, strict=True):
            span = self._start(record, began_ns)
            traced.append(self._finished(span, result))
            span.end()
        return traced

    def _start(self, record: Record, began_ns: int) -> Any:
        links = [] if self._batch is None else [trace.Link(self._batch.get_span_context())]
        return self._tracer.start_span(
            f"process {record.topic}",
            context=_context(record),
            kind=trace.SpanKind.CONSUMER,
            links=links,
            start_time=began_ns,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
                "messaging.consumer.group.name": self._group,
                "tallystick.step": self._step,
                "tallystick.event_id": str(record.event_id),
            },
        )

    def _finished(self, span: Any, result: Sequence[Output] | Poisoned) -> Sequence[Output] | Poisoned:
        if isinstance(result, Poisoned):
            span.record_exception(result.cause)
            span.set_status(trace.StatusCode.ERROR, type(result.cause).__name__)
            return result
        if not result:
            return result
        carrier: dict[str, str] = {}
        inject(carrier, context=trace.set_span_in_context(span))
        return [msgspec.structs.replace(output, headers=with_context(output.headers, carrier)) for output in result]


def with_context(headers: Headers, carrier: dict[str, str]) -> Headers:
    """The headers with the carrier's in the place of those of the same name."""
    return (
        *(one for one in headers if one[0] not in carrier),
        *((name, value.encode()) for name, value in carrier.items()),
    )


def _context(record: Record) -> Any:
    return extract({name: value.decode(errors="replace") for name, value in record.headers if value is not None})


def _span_context(record: Record) -> Any:
    return trace.get_current_span(_context(record)).get_span_context()
