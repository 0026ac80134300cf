"""The oracle catches what is broken: runtimes and brokers with one rule taken out, each with the finding it must give.

A judge that never objects proves nothing. The broken runtimes are real workers (``tests.support.broken_workers``); the
broken brokers are the embedded one in this process, with one method replaced.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from tests.support.brokers import Cluster

from tallystick.broker import InProcessBroker
from tallystick.broker.faults import DropResponse, Fault, Match
from tallystick.broker.log.partition_log import PartitionLog
from tallystick.broker.producer_state import ProducerEntry, ProducerStates
from tallystick.ids import EVENT_ID_HEADER
from tallystick.pipeline import Guarantee
from tallystick.verify.capsule import open_capsule, write_capsule
from tallystick.verify.capsule.replay import violations
from tallystick.verify.faults.specs import FaultSpec
from tallystick.verify.oracle import Expected, History, Report, StableSample, TopicView, judge, read_view
from tallystick.verify.proxy import Proxy
from tallystick.verify.trial.outcome import Outcome
from tallystick.verify.trial.settings import TrialSettings
from tallystick.verify.trial.site import Site
from tallystick.verify.trial.trial import Trial
from tallystick.verify.workloads import Shape

pytestmark = pytest.mark.timeout(240)
TOPIC = "inputs"


# -- runtimes


def outcome_of(cluster: Cluster, folder: Path, mutation: str, *, faults: str, duration_s: float) -> Outcome:
    settings = TrialSettings(
        workload=Shape.FAN_OUT,
        guarantee=Guarantee.EXACTLY_ONCE,
        faults=tuple(FaultSpec.parse(text) for text in faults.split(",") if text),
        duration_s=duration_s,
        application=f"{sys.executable} -m tests.support.broken_workers {mutation}",
    )
    with Proxy(cluster.bootstrap) as proxy:
        return Trial(settings, Site(name=cluster.name, bootstrap=cluster.bootstrap, proxy=proxy), folder).run()


@pytest.mark.long  # the first of them is also in test_verify.py, by the command
@pytest.mark.parametrize(
    ("mutation", "faults", "duration_s", "found"),
    [
        ("positions-run-on-after-an-abort", "", 4, {"lost", "torn-from-offsets"}),
        ("offsets-are-committed-before-the-work", "kill-at:cycle.after-produce@0.5", 7, {"lost", "torn-from-offsets"}),
        ("a-transaction-is-two", "kill-at:cycle.after-produce@0.5,kill-at:cycle.after-produce@0.6", 7, {"repeated"}),
        ("nobody-is-fenced", "", 22, {"repeated"}),
    ],
)
def test_a_runtime_without_one_of_its_rules_is_caught(
    embedded_cluster: Cluster, tmp_path: Path, mutation: str, faults: str, duration_s: float, found: set[str]
) -> None:
    outcome = outcome_of(embedded_cluster, tmp_path, mutation, faults=faults, duration_s=duration_s)
    assert not outcome.passed
    assert found <= {one.checker for one in outcome.violations}, str(outcome.outputs)
    for one in (one for one in outcome.violations if one.place != "run"):
        assert 0 < len(one.witness) < 40, "a violation is told by its shortest history"
    capsule = open_capsule(write_capsule(outcome, tmp_path / "capsule.zip", segments=(), logs=tmp_path))
    assert [(one.checker, one.count) for one in violations(capsule)] == [
        (one.checker, one.count) for one in outcome.violations if one.place != "run"
    ]
    assert capsule.manifest["settings"]["seed"] == 1
    assert json.dumps(capsule.manifest)


# -- brokers


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[InProcessBroker]:
    with InProcessBroker(tmp_path / "data") as running:
        admin = AdminClient({"bootstrap.servers": running.bootstrap})
        admin.create_topics([NewTopic(TOPIC, 1)])[TOPIC].result(20)
        yield running


def produce(broker: InProcessBroker, numbers: range, **settings: Any) -> list[Expected]:
    """Idempotent, one batch for each record, all acknowledged; what is owed."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "linger.ms": 0} | settings)
    owed = []
    for number in numbers:
        name = f"event-{number}"
        producer.produce(TOPIC, b"v", key=b"k", headers=[(EVENT_ID_HEADER, name.encode())])
        assert producer.flush(30) == 0
        owed.append(Expected(TOPIC, name, b"k", group=name, sequence=number))
    return owed


def view(broker: InProcessBroker) -> TopicView:
    return read_view(broker.bootstrap, TOPIC)


def findings(report: Report) -> set[str]:
    return {found.checker for found in report.findings if found.count}


def test_a_sound_broker_is_not_objected_to(broker: InProcessBroker) -> None:
    broker.faults.add(Fault(DropResponse(), on=Match(api="produce"), nth=3))
    owed = produce(broker, range(6), **{"socket.timeout.ms": 1000})
    abort_one(broker)
    before = view(broker)
    broker.kill()
    broker.start()
    assert judge(History(expected=tuple(owed), views=(view(broker),), earlier=(before,))).passed


def test_a_broker_without_deduplication_is_caught(broker: InProcessBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProducerEntry, "duplicate_of", lambda *_: None)
    monkeypatch.setattr("tallystick.broker.producer_state._check_sequence", lambda *_: None)
    broker.faults.add(Fault(DropResponse(), on=Match(api="produce"), nth=3))
    owed = produce(broker, range(6), **{"socket.timeout.ms": 1000})
    assert findings(judge(History(expected=tuple(owed), views=(view(broker),)))) == {"repeated"}


def test_a_broker_that_loses_acknowledged_batches_over_a_kill_is_caught(broker: InProcessBroker) -> None:
    owed = produce(broker, range(6))
    before = view(broker)
    broker.kill()
    (segment,) = (
        path
        for path in broker.data.rglob("*.log")
        if path.stat().st_size and path.parent.parent.parent.name == "topics"
    )
    with segment.open("r+b") as file:
        file.truncate(segment.stat().st_size - 10)
    broker.start()
    report = judge(History(expected=tuple(owed), views=(view(broker),), earlier=(before,)))
    assert findings(report) == {"lost", "vanished"}


def abort_one(broker: InProcessBroker) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": "aborter"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(TOPIC, b"v", key=b"k", headers=[(EVENT_ID_HEADER, b"aborted")])
    producer.flush(20)
    producer.abort_transaction(20)


def test_a_broker_that_shows_aborted_records_is_caught(
    broker: InProcessBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    owed = produce(broker, range(3))
    abort_one(broker)
    sound = view(broker)
    monkeypatch.setattr(PartitionLog, "aborted_between", lambda *_: [])
    broken = view(broker)
    report = judge(History(expected=tuple(owed), views=(broken,), known_aborted=sound.aborted))
    assert findings(report) == {"aborted-visible", "unexpected"}


def test_a_reader_of_uncommitted_records_is_caught(broker: InProcessBroker) -> None:
    owed = produce(broker, range(3))
    abort_one(broker)
    sound = view(broker)
    careless = TopicView(TOPIC, sound.uncommitted, sound.uncommitted, sound.last_stable_offsets, sound.high_watermarks)
    report = judge(History(expected=tuple(owed), views=(careless,), known_aborted=sound.aborted))
    assert findings(report) == {"aborted-visible", "unexpected"}


def test_a_broker_that_never_lets_a_transaction_go_is_caught(
    broker: InProcessBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    owed = produce(broker, range(3))
    monkeypatch.setattr(ProducerStates, "last_stable_offset", lambda *_: 1)
    looks = tuple(
        StableSample(second * 1_000, TOPIC, 0, now.last_stable_offsets[0], now.high_watermarks[0])
        for second, now in enumerate([view(broker)] * 12)
    )
    report = judge(History(expected=tuple(owed), views=(view(broker),), samples=looks, stable_limit_ms=10_000))
    assert findings(report) == {"lost", "open", "stuck"}
