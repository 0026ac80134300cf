"""``tallystick verify``, in short: real workers, real faults, both brokers, and a verdict."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from tests.support.brokers import Cluster

from tallystick.pipeline import Guarantee
from tallystick.verify.capsule import open_capsule
from tallystick.verify.faults.specs import FaultSpec
from tallystick.verify.proxy import Proxy
from tallystick.verify.trial.settings import TrialSettings
from tallystick.verify.trial.site import Site
from tallystick.verify.trial.trial import Trial
from tallystick.verify.workloads import Shape
from tallystick.wire.records import iterate_batches

pytestmark = pytest.mark.timeout(240)


def test_exactly_once_holds_while_workers_die_and_answers_are_lost(kafka: Cluster, tmp_path: Path) -> None:
    faults = ("kill-at:cycle.before-commit@0.5", "lose-answer:end-txn@1", "zombie@2", "cut-network@3")
    settings = TrialSettings(
        workload=Shape.FAN_OUT,
        guarantee=Guarantee.EXACTLY_ONCE,
        faults=tuple(map(FaultSpec.parse, faults)),
        duration_s=5,
    )
    with Proxy(kafka.bootstrap) as proxy:
        site = Site(name=kafka.name, bootstrap=kafka.bootstrap, proxy=proxy)
        outcome = Trial(settings, site, tmp_path).run()
    assert outcome.passed, json.dumps(outcome.to_json()["violations"], indent=1)
    assert outcome.outputs.right == outcome.outputs.expected == 3 * outcome.events > 1_000
    assert outcome.zombies_fenced == 1
    assert outcome.kills == 1
    assert outcome.outputs.aborted_records > 0
    topics = AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=20).topics
    assert [name for name in topics if name.startswith("verify-")] == []


@pytest.mark.long
@pytest.mark.parametrize("workload", [Shape.COUNT, Shape.JOIN])
def test_keyed_state_is_the_fold_of_its_inputs_while_workers_die(
    embedded_cluster: Cluster, tmp_path: Path, workload: Shape
) -> None:
    settings = TrialSettings(
        workload=workload,
        guarantee=Guarantee.EXACTLY_ONCE,
        faults=tuple(map(FaultSpec.parse, ("kill-worker@0.5", "kill-worker@1.5", "kill-at:cycle.before-commit@2"))),
        duration_s=6,
    )
    site = Site(name="embedded", bootstrap=embedded_cluster.bootstrap)
    outcome = Trial(settings, site, tmp_path).run()
    assert outcome.passed, json.dumps(outcome.to_json()["violations"], indent=1)
    assert outcome.outputs.right == outcome.events > 1_000
    assert len(outcome.history.states) == (settings.accounts if workload is Shape.COUNT else 0)


@pytest.mark.long
def test_each_event_is_charged_once_while_provider_dispatchers_and_workers_fail(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tallystick.cli.main", "verify", "--folder", str(tmp_path), "--duration", "6s"]
    faults = "provider-outage:hangs-up@0.5,kill-dispatcher@1,provider-outage:killed@3,kill-worker@2"
    command += ["--workload", "charge", "--rate", "40", "--faults", faults]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (trial,) = json.loads((tmp_path / "report.json").read_text())["trials"]
    assert trial["outputs"]["right"] == 3 * trial["events"] > 300  # an output, an attempt and a charge for each


def test_the_command_starts_a_broker_and_tells_losses_from_repetitions(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tallystick.cli.main", "verify", "--folder", str(tmp_path), "--duration", "4s"]
    command += [
        "--guarantee",
        "at-most-once",
        "--faults",
        "kill-at:cycle.after-process@0.5",
        "--workload",
        "pass-through",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (trial,) = json.loads((tmp_path / "report.json").read_text())["trials"]
    assert trial["outputs"]["findings"]["lost"]["count"] > 0
    assert trial["outputs"]["findings"]["repeated"]["count"] == 0
    assert "<svg" in (tmp_path / "report.html").read_text()


def test_a_fault_that_the_cluster_does_not_allow_is_refused_with_the_reason(embedded_cluster: Cluster) -> None:
    command = [sys.executable, "-m", "tallystick.cli.main", "verify", "--bootstrap", embedded_cluster.bootstrap]
    done = subprocess.run(
        [*command, "--faults", "kill-broker"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "not ours to kill" in done.stderr


def test_a_violation_leaves_a_capsule_that_is_judged_again_without_the_cluster(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tallystick.cli.main", "verify"]
    loses = f"{sys.executable} -m tests.support.broken_workers positions-run-on-after-an-abort"
    options = ["--folder", str(tmp_path), "--duration", "3s", "--faults", "none", "--application", loses]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    capsule = tmp_path / "capsule-exactly-once.zip"
    again = subprocess.run([*command, "replay", str(capsule)], capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 1
    assert "now: outputs: lost" in again.stdout
    opened = open_capsule(capsule)
    logs = [opened.read(name) for name in opened.segments if "ticks" in name]
    assert sum(batch.record_count for log in logs for batch, _ in iterate_batches(log)) == opened.manifest["events"] > 0
