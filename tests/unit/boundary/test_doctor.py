"""What the doctor says when the two sides do not fit."""

from __future__ import annotations

import pytest

from tallystick.boundary.doctor import (
    SKEW_MS,
    KafkaSide,
    Origin,
    OutboxSide,
    Severity,
    SqlSide,
    examine,
)
from tallystick.boundary.schema import SCHEMA_VERSION

PLACE = ("orders", 0)
KEY = ("book", PLACE)


def codes(sql: SqlSide, kafka: KafkaSide, *, now_ms: int = 0) -> list[str]:
    return [finding.code for finding in examine(sql, kafka, now_ms=now_ms)]


def sql_side(**fields: object) -> SqlSide:
    return SqlSide(**{"version": SCHEMA_VERSION, "positions": {KEY: 10}, **fields})  # type: ignore[arg-type]


def kafka_side(**fields: object) -> KafkaSide:
    base: dict[str, object] = {"cluster_id": "c", "topic_ids": {"orders": "t"}, "ends": {PLACE: (0, 20)}}
    return KafkaSide(**{**base, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sql", "kafka", "code"),
    [
        ({}, {"ends": {PLACE: (0, 9)}}, "kafka-behind"),
        ({}, {"ends": {}}, "kafka-behind"),
        ({}, {"committed": {PLACE: 21}}, "offsets-beyond-end"),
        ({}, {"committed": {PLACE: 15}, "unknown": {KEY: 3}}, "sql-behind"),
        ({"horizons": {KEY: 8}}, {"committed": {PLACE: 7}}, "below-horizon"),
        ({}, {"topic_ids": {}}, "topic-missing"),
        ({"origins": {"orders": Origin("other", "t")}}, {}, "other-cluster"),
        ({"origins": {"orders": Origin("c", "other")}}, {}, "other-topic"),
        ({"version": SCHEMA_VERSION + 1}, {}, "schema-newer"),
        ({"outboxes": (OutboxSide("o", "i", 5, pending=False),)}, {}, "outbox-kafka-behind"),
        (
            {"outboxes": (OutboxSide("o", "i", 5, pending=True),)},
            {"outbox_batches": {"tallystick-outbox.o.i": 3}},
            "outbox-kafka-behind",
        ),
        (
            {"outboxes": (OutboxSide("o", "i", 5, pending=False),)},
            {"outbox_batches": {"tallystick-outbox.o.i": 6}},
            "outbox-sql-behind",
        ),
    ],
)
def test_sides_that_do_not_fit_are_an_error_by_name(
    sql: dict[str, object], kafka: dict[str, object], code: str
) -> None:
    (finding,) = examine(sql_side(**sql), kafka_side(**kafka), now_ms=0)
    assert (finding.severity, finding.code) == (Severity.ERROR, code)
    assert finding.remedy


@pytest.mark.parametrize(
    ("sql", "kafka"),
    [
        ({}, {}),
        ({}, {"committed": {PLACE: 10}}),
        ({}, {"committed": {PLACE: 12}}),  # markers between
        ({"positions": {KEY: 20}}, {"committed": {PLACE: 20}}),
        ({"origins": {"orders": Origin("c", "t")}}, {}),
        (
            {"outboxes": (OutboxSide("o", "i", 5, pending=False),)},
            {"outbox_batches": {"tallystick-outbox.o.i": 5}},
        ),
        ({"outboxes": (OutboxSide("o", "i", 0, pending=False),)}, {}),
    ],
)
def test_sides_that_fit_are_no_finding(sql: dict[str, object], kafka: dict[str, object]) -> None:
    assert codes(sql_side(**sql), kafka_side(**kafka)) == []


def test_what_a_kill_leaves_behind_is_a_note() -> None:
    findings = examine(
        sql_side(outboxes=(OutboxSide("o", "i", 1, pending=True),)), kafka_side(committed={PLACE: 5}), now_ms=0
    )
    assert [(one.severity, one.code) for one in findings] == [
        (Severity.NOTE, "outbox-pending"),
        (Severity.NOTE, "replay"),
    ]


def test_clocks_that_differ_and_tables_of_another_time_are_warned_of() -> None:
    assert codes(sql_side(clock_ms=SKEW_MS + 1), kafka_side()) == ["clock-skew"]
    assert codes(sql_side(clock_ms=SKEW_MS), kafka_side()) == []
    assert codes(SqlSide(None), kafka_side()) == ["no-tables"]
    assert codes(SqlSide(1), kafka_side()) == ["schema-older"]
