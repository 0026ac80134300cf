"""What an operator meets: each has one clear outcome, on both brokers."""

from __future__ import annotations

from pathlib import Path

from tests.support.brokers import Cluster, Names
from tests.support.clients import make_topic
from tests.support.pipeline import SupervisedWorkers, put

from tallystick.pipeline.worker_main import Exit


def test_a_worker_that_stops_by_policy_ends_for_good_and_says_what_to_do(
    kafka: Cluster, names: Names, tmp_path: Path
) -> None:
    prefix = names("stop")
    make_topic(kafka.bootstrap, f"{prefix}-a", partitions=2)
    put(kafka.bootstrap, f"{prefix}-a", [b"no json"])
    with SupervisedWorkers(kafka.bootstrap, prefix, tmp_path, on_failure="stop") as workers:
        assert workers.wait() == Exit.STOPPED_BY_POLICY
        events = workers.log_events()
    assert len([one for one in events if one["event"] == "worker starts"]) == 1
    (said,) = [one for one in events if one["event"] == "stopped by policy"]
    assert f"{prefix}-a-" in said["error"]
    assert "tallystick dlq" in said["error"]
    assert "DecodeError" in said["exception"]
