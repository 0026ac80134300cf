"""A mended function over a span of its input again: what is found, what is written, and that nothing comes twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from tests.support.brokers import Cluster, Names
from tests.support.clients import WAIT_S, admin, eventually, make_topic, producer
from tests.support.pipeline import REPOSITORY, RunningLoop
from tests.support.replay_app import shop, summing
from typer.testing import CliRunner

from tallystick.cli.main import app as command
from tallystick.errors import ConfigurationError, FencedError
from tallystick.ids import derived_id, deterministic_id, parse_event_id
from tallystick.pipeline import App, Output, Record, WorkerConfig, run_worker
from tallystick.pipeline import kafka_client as clients
from tallystick.pipeline.replay import REPLACES_HEADER, REPLAY_HEADER, REVISION_HEADER, Replay, Span, Survey, Verdict
from tallystick.pipeline.replay import writer as writing

FEBRUARY_MS, MARCH_MS, APRIL_MS = 1_769_904_000_000, 1_772_323_200_000, 1_775_001_600_000
MARCH = Span(from_ms=MARCH_MS, to_ms=APRIL_MS)
INPUT = (
    (1, FEBRUARY_MS),
    (2, FEBRUARY_MS),
    (3, MARCH_MS),
    (4, MARCH_MS),
    (12, APRIL_MS),
    (5, MARCH_MS + 5),  # after April's: timestamps need not ascend
    (6, APRIL_MS - 1),
    (7, MARCH_MS + 7),
    (8, MARCH_MS + 8),
)
APPLY = """import sys
from tallystick.killpoints import arm_from_environment
from tallystick.pipeline.replay import Replay, Span
from tallystick.pipeline.replay.writer import Writer
from tests.support.replay_app import build
arm_from_environment()
Writer.most_records = 2
Replay(build(), {"bootstrap.servers": sys.argv[1]}, name="march", span=Span(from_ms=int(sys.argv[2]))).apply()
"""


class World:
    """The input, rated by the function as it was."""

    def __init__(self, kafka: Cluster, names: Names) -> None:
        self.bootstrap = kafka.bootstrap
        self.settings = {"bootstrap.servers": kafka.bootstrap}
        self.prefix = names("shop")
        kept = {"retention.ms": "-1"}
        self.source = make_topic(kafka.bootstrap, f"{self.prefix}-in", partitions=2, config=kept)
        self.target = make_topic(kafka.bootstrap, f"{self.prefix}-out", partitions=2, config=kept)
        self.group = f"{self.prefix}.rate"
        self.feed(INPUT)
        before = self.app(mended=False)
        with RunningLoop(kafka.bootstrap, self.group, self.source, factory=before.steps[0].factory):
            self.charges(len(INPUT))

    def app(self, *, mended: bool) -> App:
        return shop(self.prefix, mended=mended)

    def feed(self, numbers: Iterable[tuple[int, int]]) -> None:
        client = producer(self.bootstrap)
        for number, stamp in numbers:
            client.produce(self.source, b"%d" % number, b"key", number % 2, timestamp=stamp)
        assert client.flush(WAIT_S) == 0

    def charges(self, least: int) -> list[Record]:
        found: list[Record] = []

        def are_there() -> bool:
            found[:] = clients.read_to_end(self.settings, [self.target])
            return len(found) >= least

        eventually(are_there)
        return found

    def replay(self, *, name: str = "march", span: Span = MARCH, mended: bool = True) -> Replay:
        return Replay(self.app(mended=mended), self.settings, name=name, span=span)

    def offsets(self) -> dict[tuple[str, int], object]:
        asked = [(self.source, 0), (self.source, 1)]
        return dict(clients.Cluster(self.settings).group_offsets(self.group, asked))


@pytest.fixture
def world(kafka: Cluster, names: Names) -> World:
    return World(kafka, names)


def numbers(messages: Iterable[Record]) -> list[int]:
    return sorted(int(message.value or b"") for message in messages)


def counted(survey: Survey) -> dict[str, int]:
    return {verdict.value: survey.counts[verdict] for verdict in Verdict if survey.counts[verdict]}


def written_by_replays(messages: Iterable[Record]) -> list[Record]:
    return [message for message in messages if REPLAY_HEADER in dict(message.headers)]


def header(record: Record, name: str) -> bytes:
    return dict(record.headers)[name]


def test_a_dry_run_tells_each_output_apart_and_writes_nothing(world: World) -> None:
    before, offsets = world.charges(len(INPUT)), world.offsets()
    found: dict[Verdict, list[int]] = {}
    survey = world.replay().survey(
        lambda one: found.setdefault(one.verdict, []).append(int(one.record.value or b"")),
    )
    assert counted(survey) == {"same": 2, "changed": 3, "new": 1, "gone": 1}
    assert {verdict: sorted(some) for verdict, some in found.items()} == {
        Verdict.SAME: [3, 5],
        Verdict.CHANGED: [4, 6, 8],
        Verdict.NEW: [5],
        Verdict.GONE: [7],
    }
    assert survey.counts.records == 6
    assert survey.obstacles.sentences == []
    assert len(world.charges(len(INPUT))) == len(before)
    assert world.offsets() == offsets


def test_corrections_have_ids_of_their_own_and_new_outputs_those_that_they_would_have_had(world: World) -> None:
    originals, offsets = {one.event_id: one for one in world.charges(len(INPUT))}, world.offsets()
    assert world.replay().apply().applied == 4
    found = written_by_replays(world.charges(len(INPUT) + 4))
    assert numbers(found) == [44, 55, 66, 88]
    for message in found:
        assert header(message, REPLAY_HEADER) == b"march"
        if message.value == b"55":
            (parent,) = [one for one in originals.values() if one.value == b"50"]
            assert message.event_id[-12:] == parent.event_id[-12:]
            assert REPLACES_HEADER not in dict(message.headers)
            assert message.timestamp_ms == MARCH_MS + 5
            continue
        original = originals[parse_event_id(header(message, REPLACES_HEADER))]
        assert message.event_id == derived_id(original.event_id, "replay.march", 1)
        assert header(message, REVISION_HEADER) == b"1"
        assert (message.key, message.timestamp_ms) == (b"key", original.timestamp_ms)
        assert int(message.value or b"") * 10 == int(original.value or b"") * 11
    assert world.offsets() == offsets
    again = world.replay().apply()
    assert (again.applied, counted(again)) == (0, {"same": 6, "gone": 1})
    # and back: each names the original, not the correction before
    assert world.replay(name="back", mended=False).apply().applied == 3
    written = written_by_replays(world.charges(len(INPUT) + 7))
    found = [one for one in written if header(one, REPLAY_HEADER) == b"back"]
    assert numbers(found) == [40, 60, 80]
    assert {header(one, REVISION_HEADER) for one in found} == {b"2"}
    assert {parse_event_id(header(one, REPLACES_HEADER)) for one in found} <= originals.keys()


@pytest.mark.parametrize("point", ["replay.after-commit:1", "replay.before-commit:2"])
def test_killed_on_the_way_it_goes_on_and_repeats_nothing(world: World, point: str) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", APPLY, world.bootstrap, str(MARCH_MS)],
        env={
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "src")]),
            "REPLAY_TEST_PREFIX": world.prefix,
            "TALLYSTICK_KILL_AT": point,
        },
        check=False,
        timeout=60,
    )
    assert killed.returncode == -9
    first = 2  # of the first transaction, which either point is behind
    assert world.replay(span=Span(from_ms=MARCH_MS)).apply().applied == 5 - first
    assert numbers(written_by_replays(world.charges(len(INPUT) + 5))) == [44, 55, 66, 88, 132]


def test_a_second_writer_fences_the_first(world: World) -> None:
    with writing.Writer(world.settings, group=world.group) as first:
        assert world.replay().apply().applied == 4
        with pytest.raises(FencedError):
            first.write([Output(world.target, b"key", b"0", deterministic_id("test", 0), partition=0)])
    assert len(written_by_replays(world.charges(len(INPUT) + 4))) == 4


def test_records_that_fail_or_are_not_processed_yet_are_told(world: World) -> None:
    world.feed([(13, MARCH_MS), (20, MARCH_MS)])
    survey = world.replay().survey()
    assert survey.counts.records == 6
    assert any("not processed" in note for note in survey.scope.notes)
    before = world.app(mended=False)
    with RunningLoop(world.bootstrap, world.group, world.source, factory=before.steps[0].factory):
        world.charges(len(INPUT) + 2)
    with pytest.raises(ConfigurationError, match=r"1 records fail.*--despite failures"):
        world.replay().apply()
    assert written_by_replays(world.charges(len(INPUT) + 2)) == []
    assert world.replay().apply(despite=frozenset({"failures"})).applied == 5


def test_a_topic_whose_retention_would_delete_the_corrections_is_refused(world: World) -> None:
    change = ConfigEntry("retention.ms", "86400000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, world.target, incremental_configs=[change])
    client = admin(world.bootstrap)
    client.incremental_alter_configs([resource])[resource].result(WAIT_S)
    eventually(lambda: client.describe_configs([resource])[resource].result(WAIT_S)["retention.ms"].value == "86400000")
    with pytest.raises(ConfigurationError, match=r"retention\.ms=86400000"):
        world.replay().apply()


def test_the_command_shows_what_would_change_and_applies_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "differences.jsonl"
    monkeypatch.setenv("REPLAY_TEST_PREFIX", world.prefix)
    arguments = ["replay", "tests.support.replay_app:build", "--bootstrap", world.bootstrap]
    arguments += ["--from", "2026-03-01", "--to", "2026-04-01"]
    seen = CliRunner().invoke(command, [*arguments, "--report", str(report)])
    assert seen.exit_code == 0, seen.output
    assert "--apply would write 4 outputs" in seen.output
    assert "was 40" in seen.output
    assert "now 44" in seen.output
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    assert sorted(row["verdict"] for row in rows) == ["changed"] * 3 + ["gone", "new"]
    applied = CliRunner().invoke(command, [*arguments, "--name", "march", "--apply", "--json"])
    assert applied.exit_code == 0, applied.output
    document = json.loads(applied.stdout)
    assert document["applied"] == 4
    assert document["outputs"] == {"same": 2, "changed": 3, "new": 1, "gone": 1, "failed": 0}


def test_a_step_with_state_is_rebuilt_from_the_beginning_and_compared_in_the_span(kafka: Cluster, names: Names) -> None:
    prefix, kept = names("sums"), {"retention.ms": "-1"}
    source = make_topic(kafka.bootstrap, f"{prefix}-in", partitions=2, config=kept)
    target = make_topic(kafka.bootstrap, f"{prefix}-out", partitions=2, config=kept)
    client = producer(kafka.bootstrap)
    for number, stamp in INPUT:
        client.produce(source, b"%d" % number, b"key-%d" % (number % 2), number % 2, timestamp=stamp)
    assert client.flush(WAIT_S) == 0
    settings, stop = {"bootstrap.servers": kafka.bootstrap}, threading.Event()
    before = summing(prefix, mended=False)
    worker = threading.Thread(
        target=lambda: run_worker(before, WorkerConfig(bootstrap=kafka.bootstrap, slot="w"), stop=stop)
    )
    worker.start()
    eventually(lambda: len(list(clients.read_to_end(settings, [target]))) == len(INPUT))
    stop.set()
    worker.join()
    assert counted(Replay(before, settings, name="same", span=MARCH).survey()) == {"same": 6}
    # 2 was in February: every sum of even numbers since then is larger by one. Odd ones are what they were.
    found: dict[Verdict, list[int]] = {}
    mended = Replay(summing(prefix, mended=True), settings, name="march", span=MARCH)
    mended.survey(lambda one: found.setdefault(one.verdict, []).append(int(one.record.value or b"")))
    assert {verdict: sorted(some) for verdict, some in found.items()} == {
        Verdict.SAME: [3, 5, 7],
        Verdict.CHANGED: [4, 6, 8],
    }
    assert mended.apply().applied == 3
    sums = [int(one.value or b"") for one in written_by_replays(clients.read_to_end(settings, [target]))]
    assert sums == [2 + 1 + 4, 2 + 1 + 4 + 12 + 6, 2 + 1 + 4 + 12 + 6 + 8]
