"""Fixtures that every suite may use: brokers, databases and names.

The servers live as long as the pytest session (with xdist: one of each for each worker) and start when the first
test asks for them. One that can't start is an error, never a skip: a green run has run everything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import hypothesis
import pytest
import structlog
from tests.support.brokers import Cluster, Names, Stack, unique_name

if TYPE_CHECKING:
    from tallystick.servers import PostgreSQL

# How long an example takes says something about the machine, and nothing about the code.
# On a machine that only checks, the same examples each time: what a search finds there would be blamed on the change
# that happens to be checked. Everybody's own runs go on searching.
hypothesis.settings.register_profile("untimed", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """structlog has one configuration for a process: a test that leaves another one breaks those that look at logs."""
    before = structlog.get_config()
    yield
    after = structlog.get_config()
    changed = [name for name in ("wrapper_class", "logger_factory") if after[name] is not before[name]]
    if changed:
        structlog.configure(**{name: before[name] for name in changed})
        pytest.fail(f"structlog's {changed} are not as they were before this test")


@pytest.fixture(scope="session")
def embedded_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Our broker, as a process of its own."""
    from tallystick.broker import EmbeddedBroker

    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield Cluster("embedded", broker)


@pytest.fixture(scope="session")
def apache_cluster() -> Iterator[Cluster]:
    """Apache Kafka, started by ``tallystick.servers``."""
    from tallystick.servers import ApacheKafka

    with ApacheKafka() as kafka:
        yield Cluster("apache", kafka)


QUICK_CARE = {
    "log.retention.check.interval.ms": "100",
    "log.segment.delete.delay.ms": "5000",
    "log.cleaner.backoff.ms": "100",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "300",
}
"""For brokers that look after their logs all the time, and not every few minutes, and after their members so too."""


@pytest.fixture(scope="session")
def quick_embedded_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    from tallystick.broker import EmbeddedBroker

    with EmbeddedBroker(tmp_path_factory.mktemp("quick"), settings=QUICK_CARE) as broker:
        yield Cluster("embedded", broker)


@pytest.fixture(scope="session")
def quick_apache_cluster() -> Iterator[Cluster]:
    from tallystick.servers import ApacheKafka

    with ApacheKafka(settings=QUICK_CARE | {"log.initial.task.delay.ms": "100"}) as kafka:
        yield Cluster("apache", kafka)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgreSQL]:
    """PostgreSQL, started by ``tallystick.servers``. Without fsync: the tests kill processes, not power supplies."""
    from tallystick.servers import PostgreSQL

    with PostgreSQL(settings={"fsync": "off"}) as server:
        yield server


def _cluster(request: pytest.FixtureRequest, name: str) -> Cluster:
    cluster: Cluster = request.getfixturevalue(f"{name}_cluster")
    if cluster.is_killed:  # a test before failed between kill and restart
        cluster.restart()
    return cluster


def _database_url(request: pytest.FixtureRequest, name: str) -> Iterator[str]:
    from tests.support.databases import fresh_postgres_database, sqlite_url

    if name == "sqlite":
        folder: Path = request.getfixturevalue("tmp_path")
        yield sqlite_url(folder)
    else:
        with fresh_postgres_database(request.getfixturevalue("postgres_server")) as url:
            yield url


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.apache)])
def kafka(request: pytest.FixtureRequest) -> Cluster:
    """Each broker in turn: ``.name``, ``.bootstrap``, ``.kill()``, ``.restart()``."""
    return _cluster(request, request.param)


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.apache)])
def quick_kafka(request: pytest.FixtureRequest) -> Cluster:
    """Each broker in turn, with ``QUICK_CARE`` of its logs."""
    return _cluster(request, f"quick_{request.param}")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a fresh, empty database, on each database in turn."""
    yield from _database_url(request, request.param)


@pytest.fixture(
    params=[
        pytest.param(("embedded", "sqlite"), id="embedded-sqlite"),
        pytest.param(("apache", "postgres"), id="apache-postgres", marks=[pytest.mark.apache, pytest.mark.postgres]),
    ]
)
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Broker and database in the two pairings that we stand for."""
    broker, database = request.param
    for url in _database_url(request, database):
        yield Stack(f"{broker}-{database}", _cluster(request, broker), url)


@pytest.fixture
def names() -> Names:
    """Names for topics, groups and transactional ids that no other test uses."""
    return unique_name


LONG_FILES: Final = frozenset(
    {
        "test_verify",
        "test_verify_mutations",
        "test_pipeline_kills",
        "test_pipeline_consumer_protocol",
        "test_replay",
        "test_pipeline_lanes",
        "test_guarantees_kill_points",
        "test_boundary_kills",
        "test_migration",
        "test_pipeline_outcomes",
        "test_pipeline_state",
        "test_effect_schedules",
    }
)
"""A file stays on one worker, so those that take a minute begin first, or the others wait for them at the end."""


@pytest.hookimpl(trylast=True)  # after pytest-randomly, whose order stays among the others
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONG_FILES)
