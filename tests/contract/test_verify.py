"""``tallystick verify``, in short: real workers, real faults, both brokers, and a verdict."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka.admin import AdminClient
from rich.console import Console
from tests.support.brokers import Cluster

from tallystick.pipeline import Guarantee
from tallystick.verify.capsule import open_capsule
from tallystick.verify.faults.specs import FaultSpec
from tallystick.verify.proxy import Proxy
from tallystick.verify.report.page import page
from tallystick.verify.report.terminal import summary
from tallystick.verify.trial.outcome import Outcome
from tallystick.verify.trial.settings import TrialSettings
from tallystick.verify.trial.site import Site
from tallystick.verify.trial.trial import Trial
from tallystick.verify.workloads import Shape
from tallystick.wire.records import iterate_batches

pytestmark = pytest.mark.timeout(240)
VERIFY: Final = (sys.executable, "-m", "tallystick.cli.main", "verify")


FAULTS = {
    Guarantee.AT_MOST_ONCE: ("kill-at:cycle.after-process@0.5",),
    Guarantee.AT_LEAST_ONCE: ("kill-at:cycle.before-commit@0.5",),
    Guarantee.EXACTLY_ONCE: ("kill-at:cycle.before-commit@0.5", "lose-answer:end-txn@1", "zombie@2", "cut-network@3"),
}
"""The worst moment for each of the first two: between offsets and outputs."""


def tried(cluster: Cluster, guarantee: Guarantee, folder: Path) -> Outcome:
    settings = TrialSettings(
        workload=Shape.FAN_OUT,
        guarantee=guarantee,
        faults=tuple(map(FaultSpec.parse, FAULTS[guarantee])),
        duration_s=5,
        workers=2 if guarantee is Guarantee.EXACTLY_ONCE else 1,
    )
    with Proxy(cluster.bootstrap) as proxy:
        return Trial(settings, Site(name=cluster.name, bootstrap=cluster.bootstrap, proxy=proxy), folder).run()


@dataclass(frozen=True, slots=True)
class Runs:
    """``broken`` is what the command printed about a runtime that loses, with its reports and capsule in ``folder``."""

    outcomes: dict[Guarantee, Outcome]
    broken: subprocess.CompletedProcess[str]
    folder: Path


@pytest.fixture(scope="module")
def runs(embedded_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """One trial of each guarantee and the command, all at the same time: they wait more than they compute."""
    folder = tmp_path_factory.mktemp("trials")
    loses = f"{sys.executable} -m tests.support.broken_workers positions-run-on-after-an-abort"
    options = ["--folder", str(folder), "--duration", "3s", "--faults", "none", "--application", loses]
    options += ["--workers", "1", "--rate", "1000"]
    with ThreadPoolExecutor(1 + len(FAULTS)) as pool:
        running = {one: pool.submit(tried, embedded_cluster, one, folder / one.value) for one in FAULTS}
        broken = pool.submit(
            subprocess.run, [*VERIFY, *options], capture_output=True, text=True, timeout=200, check=False
        )
        return Runs({one: trial.result() for one, trial in running.items()}, broken.result(), folder)


@pytest.fixture
def outcomes(runs: Runs) -> dict[Guarantee, Outcome]:
    return runs.outcomes


def told(outcome: Outcome) -> str:
    """All that went on, for whoever has to find out."""
    wrong = json.dumps(outcome.to_json()["violations"], indent=1)
    return "\n".join([wrong, f"missed: {outcome.missed}", *map(str, outcome.moments), *outcome.own_ends])


def assert_exactly_once(outcome: Outcome) -> None:
    assert outcome.passed, told(outcome)
    assert outcome.outputs.right == outcome.outputs.expected == 3 * outcome.events > 1_000
    assert outcome.zombies_fenced == 1
    assert outcome.kills == 1
    assert outcome.outputs.aborted_records > 0


def verify_topics(cluster: Cluster) -> list[str]:
    topics = AdminClient({"bootstrap.servers": cluster.bootstrap}).list_topics(timeout=20).topics
    return [name for name in topics if name.startswith("verify-")]


def test_exactly_once_holds_while_workers_die_and_answers_are_lost(
    outcomes: dict[Guarantee, Outcome], embedded_cluster: Cluster
) -> None:
    assert_exactly_once(outcomes[Guarantee.EXACTLY_ONCE])
    assert verify_topics(embedded_cluster) == []


def test_at_most_once_loses_and_never_repeats(outcomes: dict[Guarantee, Outcome]) -> None:
    outcome = outcomes[Guarantee.AT_MOST_ONCE]
    assert outcome.passed, told(outcome)
    assert outcome.outputs.lost > 0
    assert outcome.outputs.repeated == 0


def test_at_least_once_repeats_and_never_loses(outcomes: dict[Guarantee, Outcome]) -> None:
    outcome = outcomes[Guarantee.AT_LEAST_ONCE]
    assert outcome.passed, told(outcome)
    assert outcome.outputs.repeated > 0
    assert outcome.outputs.lost == 0


def test_one_report_tells_the_three_guarantees_apart(outcomes: dict[Guarantee, Outcome]) -> None:
    console = Console(file=io.StringIO(), record=True, width=120)
    summary(console, list(outcomes.values()))
    rows = {line.split()[0]: line.split() for line in console.export_text().splitlines() if line.strip()}
    for guarantee, outcome in outcomes.items():
        lost, repeated = rows[guarantee.value][4:6]
        assert (lost, repeated) == (f"{outcome.outputs.lost:,}", f"{outcome.outputs.repeated:,}")
    assert "<svg" in page(list(outcomes.values()))


@pytest.mark.long
@pytest.mark.apache
def test_exactly_once_holds_on_apache_kafka_as_well(apache_cluster: Cluster, tmp_path: Path) -> None:
    assert_exactly_once(tried(apache_cluster, Guarantee.EXACTLY_ONCE, tmp_path))
    assert verify_topics(apache_cluster) == []


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
    assert outcome.passed, told(outcome)
    assert outcome.outputs.right == outcome.events > 1_000
    assert len(outcome.history.states) == (settings.accounts if workload is Shape.COUNT else 0)


@pytest.mark.long
def test_each_event_is_charged_once_while_provider_dispatchers_and_workers_fail(tmp_path: Path) -> None:
    command = [*VERIFY, "--folder", str(tmp_path), "--duration", "6s"]
    faults = "provider-outage:hangs-up@0.5,kill-dispatcher@1,provider-outage:killed@3,kill-worker@2"
    command += ["--workload", "charge", "--rate", "40", "--faults", faults]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (trial,) = json.loads((tmp_path / "report.json").read_text())["trials"]
    assert trial["outputs"]["right"] == 3 * trial["events"] > 300  # an output, an attempt and a charge for each


@pytest.mark.long
def test_the_command_starts_a_broker_and_tells_losses_from_repetitions(tmp_path: Path) -> None:
    command = [*VERIFY, "--folder", str(tmp_path), "--duration", "4s"]
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
    command = [*VERIFY, "--bootstrap", embedded_cluster.bootstrap]
    done = subprocess.run(
        [*command, "--faults", "kill-broker"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "not ours to kill" in done.stderr


def test_a_violation_leaves_a_capsule_that_is_judged_again_without_the_cluster(runs: Runs) -> None:
    assert runs.broken.returncode == 1, runs.broken.stdout + runs.broken.stderr
    (trial,) = json.loads((runs.folder / "report.json").read_text())["trials"]
    assert {"lost", "torn-from-offsets"} <= {one["checker"] for one in trial["violations"]}
    shortest = [one["shortest_history"] for one in trial["violations"] if one["place"] != "run"]
    assert all(0 < len(lines) < 40 for lines in shortest), shortest
    assert "<svg" in (runs.folder / "report.html").read_text()
    capsule = runs.folder / "capsule-exactly-once.zip"
    again = subprocess.run([*VERIFY, "replay", str(capsule)], capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 1
    assert "now: outputs: lost" in again.stdout
    opened = open_capsule(capsule)
    logs = [opened.read(name) for name in opened.segments if "ticks" in name]
    assert sum(batch.record_count for log in logs for batch, _ in iterate_batches(log)) == opened.manifest["events"] > 0
