"""What an orchestrator sees of running workers: /metrics and /healthz of ``tallystick run``."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from tests.support.brokers import Cluster, Names
from tests.support.clients import eventually, make_topic
from tests.support.pipeline import SupervisedWorkers, put

INPUTS = [b'{"n":%d}' % number for number in range(300)]
OPTIONS = ["--metrics-listen", "127.0.0.1:0", "--consumer", "statistics.interval.ms=200"]


def page_of(workers: SupervisedWorkers) -> str:
    def urls() -> list[str]:
        return [event["url"] for event in workers.log_events() if event["event"] == "metrics"]

    eventually(lambda: urls() != [])
    return urls()[0].removesuffix("/metrics")


def samples(page: str) -> Mapping[tuple[str, str, str], float]:
    """By name, step and the one further label that there may be."""
    with urllib.request.urlopen(f"{page}/metrics", timeout=10) as answer:  # noqa: S310  # our own page
        text = answer.read().decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            further = {name: value for name, value in sample.labels.items() if name not in ("slot", "step")}
            found[sample.name, sample.labels.get("step", ""), next(iter(further.values()), "")] = sample.value
    return found


def test_progress_lag_restarts_and_health_are_seen_while_a_worker_runs_and_dies(
    kafka: Cluster, names: Names, tmp_path: Path
) -> None:
    prefix = names("seen")
    for letter in "abc":
        make_topic(kafka.bootstrap, f"{prefix}-{letter}", partitions=2)
    put(kafka.bootstrap, f"{prefix}-a", INPUTS)
    with SupervisedWorkers(kafka.bootstrap, prefix, tmp_path, options=OPTIONS) as workers:
        page = page_of(workers)

        def all_done() -> bool:
            seen = samples(page)
            return all(
                seen.get(("tallystick_records_in_total", step, "")) == len(INPUTS)
                and [seen.get(("tallystick_lag_offsets", step, f"{prefix}-{letter}-{n}")) for n in (0, 1)] == [0, 0]
                for step, letter in (("one", "a"), ("two", "b"))
            )

        eventually(all_done)
        seen = samples(page)
        assert seen["tallystick_commit_seconds_count", "one", ""] == seen["tallystick_commits_total", "one", ""] > 0
        assert seen["tallystick_assigned_partitions", "two", ""] == 2
        with urllib.request.urlopen(f"{page}/healthz", timeout=10) as answer:  # noqa: S310  # our own page
            assert json.loads(answer.read()) == {"status": "ok", "complaints": []}
        workers.kill("w-0")
        eventually(lambda: samples(page)["tallystick_worker_restarts_total", "", ""] == 1)
        assert workers.stop() == 0
