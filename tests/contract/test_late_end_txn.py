"""Rule 15: an EndTxn that was held up and retried arrives during a later transaction.

The proxy holds one EndTxn, cuts the client's connection, lets the client retry with success, and releases the held
request while the next transaction is under way.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from kio.schema.end_txn.v1.request import EndTxnRequest
from kio.schema.end_txn.v1.response import EndTxnResponse
from kio.serial import entity_reader
from tests.support.brokers import Cluster, Names
from tests.support.clients import WAIT_S, eventually, make_topic, read_all, read_ended, transactional

from tallystick.pipeline import Guarantee
from tallystick.verify.frames import END_TXN, INIT_PRODUCER_ID, RequestFrame
from tallystick.verify.kill_report import WorkerTotals
from tallystick.verify.kill_run import create_topics
from tallystick.verify.oracle import Report, TopicView, examine, identity_from_payload, read_view
from tallystick.verify.proxy import Hold, Proxy
from tallystick.verify.ticks import make_ticks, send_ticks
from tallystick.verify.watch import GroupWatch
from tallystick.verify.worker import WorkerPlace
from tallystick.verify.worker_process import WorkerProcess
from tallystick.verify.workloads import Shape, WorkloadSettings, expected_outputs


@pytest.fixture
def proxy(kafka: Cluster) -> Iterator[Proxy]:
    with Proxy(kafka.bootstrap) as running:
        yield running


def end_txn(frame: RequestFrame) -> Any:
    """The request in a frame. librdkafka sends version 1; another one would change what this test means."""
    assert (frame.api_key, frame.api_version) == (END_TXN, 1)
    _, header_bytes = entity_reader(EndTxnRequest.__header_schema__)(frame.raw, 0)
    return entity_reader(EndTxnRequest)(frame.raw, header_bytes)[0]


def error_of(response: bytes) -> int:
    _, header_bytes = entity_reader(EndTxnResponse.__header_schema__)(response, 0)
    return int(entity_reader(EndTxnResponse)(response, header_bytes)[0].error_code)


def commit_across_a_cut(producer: Producer, proxy: Proxy) -> Hold:
    """Commit with the first EndTxn held and the connection cut; the client's own retry makes it a success."""
    hold = proxy.hold(END_TXN)
    failures: list[BaseException] = []

    def commit() -> None:
        try:
            producer.commit_transaction(WAIT_S)
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            failures.append(error)

    committing = threading.Thread(target=commit)
    committing.start()
    assert end_txn(hold.wait_caught(WAIT_S)).committed
    assert proxy.cut() > 0
    committing.join(WAIT_S)
    assert not committing.is_alive()
    assert failures == []
    return hold


def test_a_bare_loop_has_its_next_transaction_torn_by_apache_kafka_and_kept_whole_by_ours(
    kafka: Cluster, proxy: Proxy, names: Names
) -> None:
    """The control: without rule 15 in the client, only the broker can help."""
    topic = make_topic(kafka.bootstrap, names("bare"))
    producer = transactional(proxy.bootstrap, names("bare-loop"))
    producer.begin_transaction()
    producer.produce(topic, b"first", partition=0)
    hold = commit_across_a_cut(producer, proxy)
    assert read_ended(kafka, topic) == [b"first"]

    producer.begin_transaction()
    producer.produce(topic, b"second, first half", partition=0)
    assert producer.flush(WAIT_S) == 0
    hold.release()
    refusal = error_of(hold.wait_answered(WAIT_S))

    visible = read_ended(kafka, topic)
    if kafka.name == "apache":
        assert refusal == 0
        assert visible == [b"first", b"second, first half"]  # nobody committed this
        return
    assert refusal != 0
    assert visible == [b"first"]
    producer.produce(topic, b"second, second half", partition=0)
    producer.commit_transaction(WAIT_S)
    assert read_all(kafka.bootstrap, topic) == [b"first", b"second, first half", b"second, second half"]


def test_our_runtime_takes_a_new_producer_so_that_a_late_end_txn_finds_nothing_to_end(
    kafka: Cluster, proxy: Proxy, names: Names, tmp_path: Path
) -> None:
    settings = WorkloadSettings(name=names("late"), shape=Shape.FAN_OUT, guarantee=Guarantee.EXACTLY_ONCE)
    ticks = make_ticks(seed=1, count=400, accounts=16)
    create_topics(kafka.bootstrap, settings)
    positions = send_ticks(kafka.bootstrap, settings.source, ticks)
    expected = expected_outputs(settings, ticks, positions)
    place = WorkerPlace(bootstrap=proxy.bootstrap, slot="slot-0", batch_records=20, stats_dir=str(tmp_path / "stats"))
    worker = WorkerProcess(settings, place, folder=tmp_path, kill_log=tmp_path / "kills.jsonl")

    def views() -> list[TopicView]:
        identify = identity_from_payload("identity")
        return [read_view(kafka.bootstrap, sink, identify=identify) for sink in settings.sinks]

    with GroupWatch(kafka.bootstrap, settings.group, [settings.source], settings.sinks) as watch:

        def snapshot() -> Report:
            """Exact, because the worker waits for an EndTxn that the proxy holds."""
            return examine(expected, views(), next_offsets=watch.consumed_offsets())

        late = proxy.hold(END_TXN)
        worker.start()
        try:
            first = end_txn(late.wait_caught(WAIT_S))
            # What comes next with another epoch belongs to the producer after; the retry of the held one passes.
            following = proxy.hold(
                END_TXN, matching=lambda frame: end_txn(frame).producer_epoch != first.producer_epoch
            )
            producers = proxy.requests(INIT_PRODUCER_ID)
            assert proxy.cut() > 0
            second = end_txn(following.wait_caught(WAIT_S))
            assert second.transactional_id == first.transactional_id
            assert proxy.requests(INIT_PRODUCER_ID) > producers

            # The next transaction is complete in the log, and its own end is still in the proxy.
            assert watch.open_partitions() > 0 or watch.offsets_pending()
            before = snapshot()
            assert 0 < before.seen < before.expected
            late.release()
            assert error_of(late.wait_answered(WAIT_S)) != 0
            after = snapshot()
            assert after.seen == before.seen, "the late EndTxn committed a part of the next transaction"
            assert after.count("torn") == 0
            assert after.count("torn-from-offsets") == 0

            following.release()
            eventually(lambda: watch.remaining() == 0)
            worker.terminate()
            assert worker.wait_end() == 0, worker.log_tail()
        finally:
            worker.kill()
        verdict = examine(expected, views(), next_offsets=watch.next_offsets())
        assert verdict.passed, str(verdict)
    totals = WorkerTotals.read(tmp_path / "stats")
    assert totals.producers_discarded.get("connection", 0) >= 1
