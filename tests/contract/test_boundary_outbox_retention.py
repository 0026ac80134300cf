"""The outbox forgets what Kafka has had for long enough, on each database."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from tallystick.boundary import add_to_outbox
from tallystick.boundary.outbox_retention import STEP_ROWS, OutboxSize, forget_published, outbox_size
from tallystick.cli.main import app
from tallystick.errors import ConfigurationError
from tallystick.ids import deterministic_id
from tallystick.pipeline.records import Output


@pytest.fixture
def engine(engine: Engine) -> Engine:
    """Rows 0 to 9: published at 100, 200 ... 800, and two that are not."""
    with engine.begin() as connection:
        add_to_outbox(connection, [output(number) for number in range(10)])
        connection.execute(text("UPDATE tallystick_outbox SET published_at_ms = 100 * sequence WHERE sequence <= 8"))
    return engine


def output(number: int) -> Output:
    return Output("t", None, b"%d" % number, deterministic_id("test.outbox-retention", number))


def sequences(engine: Engine) -> list[int]:
    with engine.begin() as connection:
        return list(connection.execute(text("SELECT sequence FROM tallystick_outbox ORDER BY 1")).scalars())


def test_what_was_published_before_goes_and_what_was_not_published_stays(engine: Engine) -> None:
    size = outbox_size(engine, before_ms=501)
    assert (size.rows, size.unpublished, size.forgettable) == (10, 2, 5)
    assert forget_published(engine, before_ms=501) == 5
    assert sequences(engine) == [6, 7, 8, 9, 10]
    assert forget_published(engine, before_ms=10**15) == 3
    assert sequences(engine) == [9, 10]


def test_it_goes_in_steps(engine: Engine) -> None:
    rows = 2 * STEP_ROWS + 1
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM tallystick_outbox"))
        insert = text(
            "INSERT INTO tallystick_outbox (event_id, topic, created_at_ms, published_at_ms) VALUES (:id, 't', 1, 1)"
        )
        connection.execute(insert, [{"id": f"e-{number}"} for number in range(rows)])
    told: list[int] = []
    assert forget_published(engine, before_ms=2, on_step=told.append) == rows
    assert told == [STEP_ROWS, 2 * STEP_ROWS, rows]


def test_a_forgotten_id_is_added_again_and_a_known_one_is_not(engine: Engine) -> None:
    forget_published(engine, before_ms=501)
    with engine.begin() as connection:
        assert add_to_outbox(connection, [output(0), output(7), output(9)]) == 1


def test_the_command_counts_first_and_forgets_when_told(database_url: str, engine: Engine) -> None:
    options = ["--database", database_url, "--keep", "30d"]
    counted = CliRunner().invoke(app, ["outbox", "forget", *options])
    assert counted.output == "8 of 10 rows; add --execute to forget them\n"
    assert len(sequences(engine)) == 10
    listed = CliRunner().invoke(app, ["outbox", "list", *options, "--json"])
    assert json.loads(listed.output)["unpublished"] == 2
    assert "forgot 8 of 10 rows" in CliRunner().invoke(app, ["outbox", "forget", *options, "--execute"]).output
    assert sequences(engine) == [9, 10]


def test_an_empty_outbox_has_nothing_to_forget(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM tallystick_outbox"))
    assert outbox_size(engine, before_ms=1) == OutboxSize(0, 0, 0, None)
    with pytest.raises(ConfigurationError, match="a point in time"):
        forget_published(engine, before_ms=0)
