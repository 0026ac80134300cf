"""A broker for all tests of a module, in a child and in this process, without faults at the beginning of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.broker import EmbeddedBroker, InProcessBroker, LocalBroker

KINDS = [EmbeddedBroker, InProcessBroker]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def shared_broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    with request.param(tmp_path_factory.mktemp("broker"), num_partitions=2) as running:
        yield running


@pytest.fixture
def broker(shared_broker: LocalBroker) -> Iterator[LocalBroker]:
    yield shared_broker
    shared_broker.faults.clear()


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def own_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalBroker]:
    """For a test that kills it."""
    with request.param(tmp_path / "data", num_partitions=2) as running:
        yield running
