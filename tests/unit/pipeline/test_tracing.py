"""Spans of a step: one for each record, continued from its headers and into its outputs, and one for each batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.unit.pipeline.fakes import Copy, batch, record

from tallystick.pipeline.context import Emit
from tallystick.pipeline.functions import RecordFunction
from tallystick.pipeline.policy import DEAD_LETTER
from tallystick.pipeline.ports import Poisoned, Processor
from tallystick.pipeline.records import Output, Record
from tallystick.pipeline.tracing import Tracing, with_context
from tallystick.pipeline.work import BatchWork, WorkFailed

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Spans:
    """A tracer provider of its own, and what it was told."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(self.provider.get_tracer("test"), step="copy", group="app.copy")

    def work(self, processor: Processor) -> BatchWork:
        return BatchWork(processor, step="copy", policy=DEAD_LETTER, dead_letter_topic="dead", tracing=self.tracing)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def spans() -> Iterator[Spans]:
    made = Spans()
    yield made
    made.provider.shutdown()


def traced(offset: int, value: bytes = b"x") -> Record:
    return msgspec.structs.replace(record(offset, value), headers=(("traceparent", PARENT.encode()), ("kept", b"1")))


def parent_of(output: Output) -> tuple[int, int]:
    """Trace id and span id in an output's headers."""
    (held,) = [value for name, value in output.headers if name == "traceparent"]
    _, trace_id, span_id, _ = held.decode().split("-")
    return int(trace_id, 16), int(span_id, 16)


def emit_one(_record: Record) -> Emit:
    return Emit("out", b"k", b"v", headers=(("traceparent", PARENT.encode()), ("own", b"2")))


@pytest.mark.parametrize("processor", [Copy(), RecordFunction("copy", emit_one, DEAD_LETTER)], ids=["batch", "record"])
def test_a_trace_goes_from_the_headers_of_a_record_into_those_of_its_outputs(
    spans: Spans, processor: Processor
) -> None:
    work = spans.work(processor)
    given = batch(traced(1), record(2))
    outputs, _ = work.process(given)
    work.finished(given)
    one, other = spans.named("process in")
    assert one.parent is not None
    assert f"{one.parent.trace_id:032x}-{one.parent.span_id:016x}" in PARENT
    assert other.parent is None
    assert [parent_of(output) for output in outputs] == [
        (span.context.trace_id, span.context.span_id) for span in (one, other)
    ]
    assert one.attributes is not None
    assert one.attributes["messaging.kafka.offset"] == 1
    assert one.attributes["tallystick.event_id"] == str(given.records[0].event_id)


def test_a_function_runs_inside_the_span_of_its_record(spans: Spans) -> None:
    seen = []

    def look(_record: Record) -> None:
        seen.append(trace.get_current_span().get_span_context().span_id)

    work = spans.work(RecordFunction("copy", look, DEAD_LETTER))
    work.process(batch(record(1), record(2)))
    assert seen == [span.context.span_id for span in spans.named("process in")]
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_batch_that_was_taken_back_and_the_one_that_counted_are_told_apart(spans: Spans) -> None:
    copy = Copy()
    work = spans.work(copy)
    given = batch(traced(1), record(2))
    work.process(given)
    work.process(given)
    work.finished(given)
    first, second = spans.named("batch copy")
    assert first.attributes is not None
    assert second.attributes is not None
    assert (first.attributes["tallystick.outcome"], second.attributes["tallystick.outcome"]) == (
        "taken back",
        "committed",
    )
    assert (first.status.status_code, second.status.status_code) == (trace.StatusCode.ERROR, trace.StatusCode.UNSET)
    assert [link.context.span_id for link in second.links] == [int(PARENT.split("-")[2], 16)]
    links = [span.links[0].context.span_id for span in spans.named("process in")]
    assert links == [first.context.span_id] * 2 + [second.context.span_id] * 2


def test_what_failed_shows_its_error_and_contributes_no_span_that_counts(spans: Spans) -> None:
    def fail(_record: Record) -> None:
        raise ValueError("bad")

    work = spans.work(RecordFunction("copy", fail, DEAD_LETTER))
    work.process(batch(record(1)))
    (span,) = spans.named("process in")
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, "ValueError")
    assert spans.named("batch copy") == []  # it may still be committed, with a dead letter in it


def test_a_batch_that_failed_was_taken_back_when_the_worker_ends(spans: Spans) -> None:
    work = spans.work(Copy())
    with pytest.raises(WorkFailed):
        work.process(batch(record(2, b"bad"), record(3)))
    work.close()
    assert [one.attributes and one.attributes["tallystick.outcome"] for one in spans.named("batch copy")] == [
        "taken back"
    ]


def test_a_wrong_number_of_results_is_reported_by_the_work_and_not_hidden(spans: Spans) -> None:
    class Short(Copy):
        def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output] | Poisoned]:
            return super().process(records)[:1]

    with pytest.raises(Exception, match="returned 1 results"):
        spans.work(Short()).process(batch(record(1), record(2)))


def test_a_header_of_the_same_name_is_replaced_and_the_others_stay() -> None:
    assert with_context((("a", b"1"), ("traceparent", b"old")), {"traceparent": "new"}) == (
        ("a", b"1"),
        ("traceparent", b"new"),
    )


def test_a_program_without_a_provider_is_not_traced() -> None:
    assert Tracing.found(step="copy", group="g") is None
