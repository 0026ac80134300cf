"""A worker is killed while its EndTxn is on the way: outputs and offsets are in the log, their fate is open.

The kill points of the cycle lie before the client has sent everything; here the proxy holds the EndTxn, so that the
transaction is known to be complete in the log when the worker dies.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.brokers import Cluster, Names
from tests.support.clients import WAIT_S, eventually

from tallystick.pipeline import Guarantee
from tallystick.verify.frames import END_TXN
from tallystick.verify.kill_run import create_topics
from tallystick.verify.oracle import examine, identity_from_payload, read_view
from tallystick.verify.proxy import Proxy
from tallystick.verify.ticks import make_ticks, send_ticks
from tallystick.verify.watch import GroupWatch
from tallystick.verify.worker import WorkerPlace
from tallystick.verify.worker_process import WorkerProcess
from tallystick.verify.workloads import Shape, WorkloadSettings, expected_outputs


@pytest.mark.parametrize("end_arrives", [False, True], ids=["end-is-lost", "end-arrives-after-the-death"])
def test_a_worker_killed_with_its_end_txn_in_flight_loses_and_repeats_nothing(
    kafka: Cluster, names: Names, tmp_path: Path, end_arrives: bool
) -> None:
    settings = WorkloadSettings(name=names("in-flight"), shape=Shape.FAN_OUT, guarantee=Guarantee.EXACTLY_ONCE)
    ticks = make_ticks(seed=1, count=200, accounts=16)
    create_topics(kafka.bootstrap, settings)
    expected = expected_outputs(settings, ticks, send_ticks(kafka.bootstrap, settings.source, ticks))
    identify = identity_from_payload("identity")
    with (
        Proxy(kafka.bootstrap) as proxy,
        GroupWatch(kafka.bootstrap, settings.group, [settings.source], settings.sinks) as watch,
    ):
        place = WorkerPlace(
            bootstrap=proxy.bootstrap, slot="slot-0", batch_records=20, stats_dir=str(tmp_path / "stats")
        )
        worker = WorkerProcess(settings, place, folder=tmp_path, kill_log=tmp_path / "kills.jsonl")
        hold = proxy.hold(END_TXN)
        worker.start()
        try:
            hold.wait_caught(WAIT_S)
            worker.kill()
            assert watch.open_partitions() > 0
            assert watch.offsets_pending()
            if end_arrives:
                hold.release()
                hold.wait_answered(WAIT_S)
                eventually(lambda: watch.open_partitions() == 0)  # Apache Kafka answers before the markers
            worker.start()
            eventually(lambda: watch.remaining() == 0)
            worker.terminate()
            assert worker.wait_end() == 0, worker.log_tail()
        finally:
            worker.kill()
        views = [read_view(kafka.bootstrap, sink, identify=identify) for sink in settings.sinks]
        report = examine(expected, views, next_offsets=watch.next_offsets())
    assert report.passed, str(report)
    assert (report.aborted_records > 0) == (not end_arrives)
