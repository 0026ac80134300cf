"""Dead letters sent back: from a step that fails to the same step mended, on both brokers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.brokers import Cluster, Names
from tests.support.clients import await_markers, eventually, make_topic, producer, read_ended
from tests.support.pipeline import REPOSITORY, RunningLoop, header, put, read_until
from typer.testing import CliRunner

from tallystick.cli.main import app
from tallystick.errors import ConfigurationError, FencedError
from tallystick.ids import EVENT_ID_HEADER, derived_id, deterministic_id, parse_event_id
from tallystick.pipeline import Emit, ErrorPolicy, Record
from tallystick.pipeline.dead_letters import DeadLetter
from tallystick.pipeline.redrive import read_letters, redrive

REDRIVE = """import sys
from tallystick.killpoints import arm_from_environment
from tallystick.pipeline.redrive import redrive
arm_from_environment()
redrive({"bootstrap.servers": sys.argv[1]}, sys.argv[2], None)
"""
ID = deterministic_id("test", "a purchase")


def numbers_only(target: str) -> Callable[[Record], Emit]:
    def handler(record: Record) -> Emit:
        return Emit(target, record.key, b"%d" % int(record.value or b""))

    return handler


class World:
    """A step that copies numbers, and three records of which one is none."""

    def __init__(self, kafka: Cluster, names: Names) -> None:
        self.kafka = kafka
        self.group = names("numbers")
        kept = {"retention.ms": "-1"}  # one of the records is old
        self.source = make_topic(kafka.bootstrap, names("in"), partitions=2, config=kept)
        self.target = make_topic(kafka.bootstrap, names("out"), config=kept)
        self.letters = make_topic(kafka.bootstrap, f"{self.group}.dead-letter")
        self.settings = {"bootstrap.servers": kafka.bootstrap}
        client = producer(kafka.bootstrap)
        headers: dict[str, str | bytes | None] = {EVENT_ID_HEADER: ID.encode(), "tenant": b"shop"}
        client.produce(self.source, b"twelve", b"key", partition=1, timestamp=1_700_000_000_000, headers=headers)
        client.flush()
        put(kafka.bootstrap, self.source, [b"1", b"2"])
        self.run(until=2, letters=1)

    def run(self, *, until: int, letters: int) -> None:
        """The step, until the target and the letters have so many records."""
        with RunningLoop(
            self.kafka.bootstrap, self.group, self.source, numbers_only(self.target), on_error=ErrorPolicy(tries=2)
        ):
            read_until(self.kafka.bootstrap, [self.target, self.letters], lambda found: len(found) >= until + letters)

    def command(self, *arguments: str, fails: bool = False) -> str:
        ended = CliRunner().invoke(app, ["dlq", *arguments, "--bootstrap", self.kafka.bootstrap])
        assert (ended.exit_code != 0) == fails, ended.output
        if fails:
            raise ended.exception or AssertionError(ended.output)
        return ended.stdout


@pytest.fixture
def world(kafka: Cluster, names: Names) -> World:
    return World(kafka, names)


def test_a_letter_is_listed_shown_mended_and_sent_back_with_its_identity(world: World, tmp_path: Path) -> None:
    listed = json.loads(world.command("list", world.letters, "--json"))
    assert (listed["event_id"], listed["tries"]) == (ID, 2)
    assert "invalid literal for int()" in listed["cause"]
    value = tmp_path / "value"
    shown = world.command("show", world.letters, ID, "--value-to", str(value))
    assert "header    tenant: shop" in shown
    assert "Traceback" in shown
    assert value.read_bytes() == b"twelve"
    value.write_bytes(b"12")
    planned = world.command("redrive", world.letters, ID, "--value", str(value))
    assert "changed" in planned
    assert len(read_ended(world.kafka, world.source, partition=1)) < 4
    world.command("redrive", world.letters, ID, "--value", str(value), "--execute")
    with pytest.raises(ConfigurationError, match="was sent back before"):
        world.command("redrive", world.letters, ID, "--execute", fails=True)
    assert world.command("list", world.letters, "--json") == ""
    assert json.loads(world.command("list", world.letters, "--settled", "--json"))["event_id"] == ID
    (back,) = [
        message
        for message in read_until(world.kafka.bootstrap, world.source, lambda found: len(found) == 4)
        if message.value() == b"12"
    ]
    assert (back.key(), back.partition(), back.timestamp()[1]) == (b"key", 1, 1_700_000_000_000)
    assert sorted(back.headers() or []) == [(EVENT_ID_HEADER, ID.encode()), ("tenant", b"shop")]
    world.run(until=3, letters=2)
    found = read_until(world.kafka.bootstrap, world.target, lambda found: len(found) == 3)
    ids = {message.value(): parse_event_id(header(message, EVENT_ID_HEADER)) for message in found}
    assert ids[b"12"] == derived_id(ID, world.group, 0)


def test_a_letter_that_fails_again_is_a_new_letter_of_the_same_event(world: World) -> None:
    (first,) = read_letters(world.settings, world.letters).open
    assert [letter.place for letter in redrive(world.settings, world.letters, None)] == [first.place]
    world.run(until=2, letters=3)
    letters = read_letters(world.settings, world.letters)
    (again,) = letters.open
    assert [letter.place for letter in letters.settled] == [first.place]
    assert (again.event_id, again.place != first.place) == (ID, True)


def test_a_mender_that_fails_writes_nothing(world: World) -> None:
    def fails(_letter: DeadLetter) -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        redrive(world.settings, world.letters, None, fix=fails)
    assert len(read_letters(world.settings, world.letters).open) == 1
    assert len(redrive(world.settings, world.letters, None)) == 1
    assert redrive(world.settings, world.letters, None) == ()


def test_of_two_who_send_letters_back_at_once_the_first_is_fenced_and_each_goes_once(world: World) -> None:
    def meanwhile(letter: DeadLetter) -> bytes | None:
        assert len(redrive(world.settings, world.letters, None)) == 1
        return letter.record.value

    with pytest.raises(FencedError):
        redrive(world.settings, world.letters, None, fix=meanwhile)
    eventually(lambda: read_ended(world.kafka, world.source, partition=1).count(b"twelve") == 2)
    assert redrive(world.settings, world.letters, None) == ()


@pytest.mark.parametrize("point", ["dlq.before-commit", "dlq.after-commit"])
def test_killed_on_the_way_a_letter_goes_back_once(world: World, point: str) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", REDRIVE, world.kafka.bootstrap, world.letters],
        env={"PYTHONPATH": str(REPOSITORY / "src"), "TALLYSTICK_KILL_AT": f"{point}:1"},
        check=False,
        timeout=60,
    )
    assert killed.returncode == -9
    sent = redrive(world.settings, world.letters, None)
    assert len(sent) == (1 if point == "dlq.before-commit" else 0)
    await_markers(world.kafka, world.source, partition=1)
    eventually(lambda: read_ended(world.kafka, world.source, partition=1).count(b"twelve") == 2)
    assert read_letters(world.settings, world.letters).open == ()
