"""A worker that was idle for longer than the broker remembers transactional ids (rule 13)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.brokers import Cluster, Names
from tests.support.clients import committed, consumer, eventually, make_topic
from tests.support.pipeline import RunningLoop, put, read_until, values

from tallystick.operate import ClientSettings
from tallystick.operate import Cluster as Operated
from tallystick.operate.transactions import list_transactions
from tallystick.pipeline import Emit, Record

FORGETFUL = {
    "transactional.id.expiration.ms": "2000",
    "transaction.remove.expired.transaction.cleanup.interval.ms": "100",
}


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.apache)])
def forgetful(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if request.param == "embedded":
        from tallystick.broker import EmbeddedBroker

        with EmbeddedBroker(tmp_path_factory.mktemp("forgetful"), settings=FORGETFUL) as broker:
            yield Cluster("embedded", broker)
    else:
        from tallystick.servers import ApacheKafka

        with ApacheKafka(settings=FORGETFUL) as kafka:
            yield Cluster("apache", kafka)


def test_a_worker_whose_transactional_id_was_forgotten_goes_on_with_a_new_producer(
    forgetful: Cluster, names: Names
) -> None:
    source = make_topic(forgetful.bootstrap, names("in"), partitions=1)
    target = make_topic(forgetful.bootstrap, names("out"), partitions=1)
    group = names("idle")

    def copy(record: Record) -> Emit:
        return Emit(target, record.key, record.value)

    with RunningLoop(forgetful.bootstrap, group, source, copy) as running:
        put(forgetful.bootstrap, source, [b"before"])
        read_until(forgetful.bootstrap, target, lambda found: len(found) >= 1)
        with Operated(ClientSettings(bootstrap=forgetful.bootstrap)) as cluster:
            eventually(lambda: all(not one.transactional_id.startswith(group) for one in list_transactions(cluster)))
        put(forgetful.bootstrap, source, [b"after"])
        messages = read_until(forgetful.bootstrap, target, lambda found: len(found) >= 2)
        eventually(lambda: running.loop.counters.commits == 2)
    assert running.raised is None
    assert values(messages) == [b"before", b"after"]
    assert set(running.loop.counters.producers_discarded) == {"fatal"}  # more than one if the machine is slow
    with consumer(forgetful.bootstrap, group) as reader:
        assert committed(reader, source) == 2
