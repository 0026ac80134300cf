"""Keyed state over real brokers: workers that die around the flush, other owners, changelogs that are unfit."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import Message
from confluent_kafka.admin import NewPartitions
from tests.support.brokers import Cluster, Names
from tests.support.clients import admin, make_topic, producer
from tests.support.pipeline import SupervisedWorkers, read_until, values
from tests.support.state_app import COUNTS

from tallystick.errors import ConfigurationError
from tallystick.ids import EVENT_ID_HEADER, deterministic_id
from tallystick.pipeline import App, Context, Topic, WorkerConfig, places, run_worker
from tallystick.pipeline.state.local_file import AFTER_FLUSH, BEFORE_FLUSH, IN_FLUSH
from tallystick.pipeline.state.restorer import RESTORING

KEYS = 10
ROUND = 100
APP = "tests.support.state_app:build"


def feed(bootstrap: str, topic: str, rounds: int) -> int:
    """``ROUND`` records over ``KEYS`` keys for each round; their number."""
    client = producer(bootstrap)
    for number in range(rounds * ROUND):
        client.produce(topic, b"x", b"k%d" % (number % KEYS))
    assert client.flush(30) == 0
    return rounds * ROUND


def assert_counted(bootstrap: str, prefix: str, fed: int) -> None:
    """Each key's counts are 1, 2, 3 and so on, each once; and so says the changelog."""
    each = fed // KEYS
    outputs = values(read_until(bootstrap, f"{prefix}-out", lambda messages: len(messages) >= fed, quiet_s=0.5))
    assert Counter(outputs) == Counter(b"k%d=%d" % (key, count + 1) for key in range(KEYS) for count in range(each))
    changelog = f"{prefix}.count.counts.changelog"
    latest = {m.key(): m.value() for m in read_until(bootstrap, changelog, bool, quiet_s=0.5)}
    assert latest == {b"k%d" % key: b"%d" % each for key in range(KEYS)}


@pytest.mark.parametrize(
    ("first", "second"), [(BEFORE_FLUSH, IN_FLUSH), (AFTER_FLUSH, places.AFTER_COMMIT)], ids=["before", "after"]
)
def test_a_worker_killed_between_commit_and_flush_counts_each_record_once(
    kafka: Cluster, names: Names, tmp_path: Path, first: str, second: str
) -> None:
    prefix = names("state-kill")
    make_topic(kafka.bootstrap, f"{prefix}-in", partitions=2)
    fed = feed(kafka.bootstrap, f"{prefix}-in", 1)
    kill_at = f"{first}:1@w-0,{second}:2@w-1"
    with SupervisedWorkers(kafka.bootstrap, prefix, tmp_path, workers=2, kill_at=kill_at, app=APP) as workers:
        for _ in range(100):
            fed += feed(kafka.bootstrap, f"{prefix}-in", 1)
            done = read_until(kafka.bootstrap, f"{prefix}-out", lambda messages: len(messages) >= fed, quiet_s=0)  # noqa: B023
            assert len(done) >= fed
            if len(workers.kills()) == 2:
                break
        assert sorted(workers.kills()) == sorted([first, second])
        fed += feed(kafka.bootstrap, f"{prefix}-in", 1)
        assert_counted(kafka.bootstrap, prefix, fed)
        assert workers.stop() == 0


def test_state_is_restored_from_the_changelog_alone_even_if_the_worker_dies_of_it(
    kafka: Cluster, names: Names, tmp_path: Path
) -> None:
    prefix = names("state-restore")
    make_topic(kafka.bootstrap, f"{prefix}-in", partitions=2)
    fed = feed(kafka.bootstrap, f"{prefix}-in", 1)
    with SupervisedWorkers(kafka.bootstrap, prefix, tmp_path, app=APP) as workers:
        read_until(kafka.bootstrap, f"{prefix}-out", lambda messages: len(messages) >= fed, quiet_s=0)
        assert workers.stop() == 0
    shutil.rmtree(tmp_path / "state")
    fed += feed(kafka.bootstrap, f"{prefix}-in", 1)
    with SupervisedWorkers(kafka.bootstrap, prefix, tmp_path, app=APP, lanes=2, kill_at=f"{RESTORING}:1") as workers:
        assert_counted(kafka.bootstrap, prefix, fed)
        assert workers.kills() == [RESTORING]
        assert workers.stop() == 0


def test_a_changelog_that_would_lose_state_is_refused(kafka: Cluster, names: Names) -> None:
    prefix = names("state-unfit")
    for partitions, settings, message in (
        (3, {"cleanup.policy": "compact"}, "has 3 partitions"),
        (2, {"cleanup.policy": "delete"}, "cleanup.policy=delete"),
    ):
        name = f"{prefix}-{partitions}"
        make_topic(kafka.bootstrap, f"{name}.count.counts.changelog", partitions=partitions, config=settings)
        app = App(name)

        @app.step(source=Topic(f"{name}-in", bytes, partitions=2), state=[COUNTS])
        def count(_value: bytes, context: Context) -> None:
            """Never called."""

        with pytest.raises(ConfigurationError, match=message):
            run_worker(app, WorkerConfig(bootstrap=kafka.bootstrap, slot="w-0"))


def test_a_source_that_grows_stops_a_step_with_state(kafka: Cluster, names: Names, tmp_path: Path) -> None:
    prefix = names("state-grow")
    make_topic(kafka.bootstrap, f"{prefix}-in", partitions=2)
    fed = feed(kafka.bootstrap, f"{prefix}-in", 1)
    options = ["--consumer", "topic.metadata.refresh.interval.ms=500"]
    with SupervisedWorkers(kafka.bootstrap, prefix, tmp_path, app=APP, options=options) as workers:
        read_until(kafka.bootstrap, f"{prefix}-out", lambda messages: len(messages) >= fed, quiet_s=0)
        client = admin(kafka.bootstrap)
        for future in client.create_partitions([NewPartitions(f"{prefix}-in", 3)]).values():
            future.result(30)
        assert workers.wait() == 78
        assert any("a source has more now" in event.get("error", "") for event in workers.log_events())


def test_windows_joins_tables_and_deduplication_over_a_worker_that_dies(
    kafka: Cluster, names: Names, tmp_path: Path
) -> None:
    prefix = names("state-time")
    for name in ("in", "right", "names", "out"):
        make_topic(kafka.bootstrap, f"{prefix}-{name}", partitions=2, config={"retention.ms": "-1"})
    client = producer(kafka.bootstrap)
    for number in range(4):
        client.produce(f"{prefix}-names", b"name %d" % number, b"k%d" % number)
    assert client.flush(30) == 0
    began_ms = 1_700_000_000_000
    for number in range(200):
        key, time_ms = b"k%d" % (number % 4), began_ms + number * 1_000
        stamped = {EVENT_ID_HEADER: deterministic_id("test", number)}
        for _ in range(2):
            client.produce(f"{prefix}-in", b"%d" % number, key, timestamp=time_ms, headers={**stamped})
        if number % 2:
            client.produce(f"{prefix}-right", b"right %d" % number, key, timestamp=time_ms + 500)
    for topic in ("in", "right"):
        for partition in range(2):
            end_ms = began_ms + 86_400_000
            client.produce(f"{prefix}-{topic}", b"0", b"end", partition=partition, timestamp=end_ms)
    assert client.flush(30) == 0
    expected = Counter(b"pair %d %s" % (n, b"right %d" % n if n % 2 else b"nothing") for n in range(200) for _ in "12")
    expected.update(b"once %d" % n for n in range(200))
    expected.update(
        f"sum k{key} {began_ms + start * 1_000} {2 * sum(n for n in range(start, start + 10) if n % 4 == key)}".encode()
        for start in range(0, 200, 10)
        for key in range(4)
    )

    def counted(messages: list[Message]) -> Counter[bytes]:
        told = [value.rpartition(b" name")[0] or value.removesuffix(b" nobody") for value in values(messages)]
        return Counter(one for one in told if not one.endswith(b" 0"))  # those of the end

    expected = Counter({value: count for value, count in expected.items() if not value.endswith(b" 0")})
    app, kill_at = "tests.support.state_app:build_over_time", f"{places.BEFORE_COMMIT}:4"
    with SupervisedWorkers(kafka.bootstrap, prefix, tmp_path, app=app, kill_at=kill_at) as workers:
        done = read_until(kafka.bootstrap, f"{prefix}-out", lambda messages: counted(messages) >= expected)
        assert workers.kills() == [places.BEFORE_COMMIT]
        assert workers.stop() == 0
    assert counted(done) == expected
