"""The verdict over a raw record: accepted with its facts, or quarantined; nothing makes it raise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tallystick.billing.events import UsageAccepted, UsageQuarantined
from tallystick.billing.ingest import usage_output
from tallystick.billing.validation import judge
from tallystick.ids import EventId
from tallystick.pipeline.records import Record

OTHER = EventId("e617dd0a-da18-81b8-a234-243b54c10036")


def raw(line: bytes = b" 00004 0001 19970101  2   29.33", *, line_number: int = 1) -> Record:
    output = usage_output(line, tenant="cdnow", source="CDNOW_sample.txt", line_number=line_number)
    return Record("usage.raw", 0, 17, output.key, output.value, (), 0, output.event_id)


def test_a_good_line_is_accepted_with_its_facts() -> None:
    verdict = judge(raw())
    assert isinstance(verdict, UsageAccepted)
    assert (verdict.account, verdict.occurred_on, verdict.quantity, verdict.amount_minor) == (
        "cdnow:00004",
        "1997-01-01",
        2,
        2933,
    )


def test_identical_lines_are_two_events() -> None:
    one, other = judge(raw(line_number=1)), judge(raw(line_number=2))
    assert one.usage_event_id != other.usage_event_id


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (replace(raw(), value=None), "no value"),
        (replace(raw(), value=b"{"), "not a raw usage event"),
        (replace(raw(), value=b'{"tenant":"cdnow"}'), "not a raw usage event"),
        (replace(raw(), event_id=OTHER), "missing or names another line"),
        (replace(raw(), key=b"cdnow:00005"), "key is not the account cdnow:00004"),
        (replace(raw(), key=None), "key is not the account"),
        (raw(b"nonsense"), "1 fields, not 5"),
    ],
)
def test_a_bad_record_is_quarantined_with_reason_and_place(record: Record, reason: str) -> None:
    verdict = judge(record)
    assert isinstance(verdict, UsageQuarantined)
    assert reason in verdict.reason
    assert (verdict.usage_event_id, verdict.topic, verdict.offset) == (record.event_id, "usage.raw", 17)


@given(st.binary(max_size=200))
def test_no_value_makes_it_raise(value: bytes) -> None:
    assert isinstance(judge(replace(raw(), value=value)), UsageQuarantined)


@given(st.binary(max_size=200))
def test_no_line_makes_it_raise(line: bytes) -> None:
    assert judge(raw(line)).usage_event_id == raw(line).event_id
