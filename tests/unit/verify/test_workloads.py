"""Workloads owe exactly what the oracle expects of them, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import ConfigurationError
from tallystick.ids import EVENT_ID_HEADER, body_hash
from tallystick.pipeline import Guarantee, Output, Poisoned, Record, Topic
from tallystick.verify.events import Counted, Total
from tallystick.verify.oracle import Position, Seen, examine, identity_from_payload
from tallystick.verify.sql_count import SqlSide
from tallystick.verify.ticks import Tick, make_ticks
from tallystick.verify.workloads import (
    ENV_WORKLOAD,
    Shape,
    WorkloadSettings,
    build_app,
    expected_outputs,
    identity_field,
)


def settings_of(shape: Shape, folder: Path) -> WorkloadSettings:
    return WorkloadSettings(
        name="w",
        shape=shape,
        guarantee=Guarantee.EXACTLY_ONCE,
        database_url=f"sqlite:///{folder / 'w.sqlite'}" if shape is Shape.SQL_COUNT else None,
    )


def records_of(settings: WorkloadSettings, ticks: Iterable[Tick]) -> list[Record]:
    return [
        Record(
            topic=settings.source,
            partition=0,
            offset=offset,
            key=tick.key,
            value=tick.body(),
            headers=((EVENT_ID_HEADER, tick.event.encode()),),
            timestamp_ms=0,
            event_id=tick.event,
        )
        for offset, tick in enumerate(ticks)
    ]


class FakeMessage:
    """As much of a client's message as an identity needs."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def value(self) -> bytes | None:
        return self._output.value


def seen_of(outputs: Iterable[Output], field: str) -> list[Seen]:
    identify: Any = identity_from_payload(field)
    return [
        Seen(
            Position(output.topic, 0, offset), output.key, identify(FakeMessage(output)), body_hash(output.value or b"")
        )
        for offset, output in enumerate(outputs)
    ]


@pytest.mark.parametrize("shape", [Shape.PASS_THROUGH, Shape.FAN_OUT, Shape.SQL_COUNT, Shape.COPY])
def test_a_workload_run_once_satisfies_the_oracle(shape: Shape, tmp_path: Path) -> None:
    settings = settings_of(shape, tmp_path)
    ticks = make_ticks(seed=5, count=60, accounts=4)
    records = records_of(settings, ticks)
    positions = {record.event_id: Position(record.topic, 0, record.offset) for record in records}
    expected = expected_outputs(settings, ticks, positions)
    side = None
    if settings.database_url is not None:
        side = SqlSide(settings.database_url, settings.name)
        side.prepare(sorted({tick.account for tick in ticks}))
        expected += side.expected(ticks, positions)

    (step,) = build_app(settings).steps
    processor = step.factory()
    results = processor.process(records)
    outputs = [output for result in results if not isinstance(result, Poisoned) for output in result]
    processor.close()
    rows = side.rows(ticks) if side is not None else []

    report = examine(expected, [], rows=[*seen_of(outputs, identity_field(shape)), *rows])
    assert report.passed, str(report)
    if side is not None:
        assert side.counted_events() == {tick.event for tick in ticks}
        assert side.replays() == 0
        side.close()


def test_the_counting_workload_owes_the_fold_of_the_inputs_before_each_output() -> None:
    settings = WorkloadSettings(name="w", shape=Shape.COUNT, guarantee=Guarantee.EXACTLY_ONCE)
    ticks = make_ticks(seed=5, count=60, accounts=4)
    positions = {tick.event: Position(settings.source, 0, offset) for offset, tick in enumerate(ticks)}
    owed = {output.group: output.body_hash for output in expected_outputs(settings, ticks, positions)}
    totals: dict[str, Total] = {}
    for tick in ticks:
        before = totals.get(tick.account, Total())
        total = totals[tick.account] = Total(before.events + 1, before.total_minor + tick.amount_minor)
        fields = (tick.event, tick.account, tick.number, tick.amount_minor, total.events, total.total_minor)
        written = Topic(settings.sinks[0], Counted).encode(Counted(f"{tick.event}/0", *fields))
        assert owed[tick.event] == body_hash(written)


def test_a_second_row_or_a_moved_balance_is_seen_by_the_oracle(tmp_path: Path) -> None:
    """The tables hold no unique key on the event: only the inbox keeps repetitions out."""
    settings = settings_of(Shape.SQL_COUNT, tmp_path)
    ticks = make_ticks(seed=5, count=10, accounts=2)
    records = records_of(settings, ticks)
    positions = {record.event_id: Position(record.topic, 0, record.offset) for record in records}
    assert settings.database_url is not None
    side = SqlSide(settings.database_url, settings.name)
    side.prepare(sorted({tick.account for tick in ticks}))
    (step,) = build_app(settings).steps
    processor = step.factory()
    processor.process(records)
    processor.process(records[:3])
    assert side.replays() == 3
    assert examine(side.expected(ticks, positions), [], rows=side.rows(ticks)).passed

    from sqlalchemy import text

    from tallystick.boundary import open_database

    engine = open_database(settings.database_url)
    with engine.begin() as connection:
        columns = "workload, event, account"
        connection.execute(text(f"INSERT INTO verify_row ({columns}) SELECT {columns} FROM verify_row LIMIT 1"))  # noqa: S608
        connection.execute(
            text("UPDATE verify_balance SET amount_minor = amount_minor + 1 WHERE account = 'account-0'")
        )
    engine.dispose()
    broken = examine(side.expected(ticks, positions), [], rows=side.rows(ticks))
    assert broken.repeated == 1
    assert [cell.key for cell in side.states(ticks) if cell.found != cell.folded] == ["account-0"]
    processor.close()
    side.close()


def test_ticks_follow_their_seed_and_number_each_account_without_gaps() -> None:
    ticks = make_ticks(seed=1, count=200, accounts=8)
    assert ticks == make_ticks(seed=1, count=200, accounts=8)
    assert ticks != make_ticks(seed=2, count=200, accounts=8)
    assert len({tick.event for tick in ticks}) == 200
    for account in {tick.account for tick in ticks}:
        numbers = [tick.number for tick in ticks if tick.account == account]
        assert numbers == list(range(len(numbers)))


def test_settings_cross_the_environment_unchanged(tmp_path: Path) -> None:
    settings = settings_of(Shape.SQL_COUNT, tmp_path)
    assert WorkloadSettings.from_environment(settings.to_environment()) == settings


@pytest.mark.parametrize("environment", [{}, {ENV_WORKLOAD: "nonsense"}, {ENV_WORKLOAD: "{}"}])
def test_an_environment_without_a_workload_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=ENV_WORKLOAD):
        WorkloadSettings.from_environment(environment)


def test_an_sql_workload_without_a_database_is_refused() -> None:
    settings = WorkloadSettings(name="w", shape=Shape.SQL_COUNT, guarantee=Guarantee.EXACTLY_ONCE)
    with pytest.raises(ConfigurationError, match="needs a database"):
        build_app(settings)
