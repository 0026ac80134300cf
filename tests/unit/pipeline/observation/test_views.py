"""What a worker shows of itself, what Prometheus is told of it, and when it is unwell."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tallystick.pipeline.counters import Counters
from tallystick.pipeline.observation import StepView, View, ViewFile, read_view
from tallystick.pipeline.observation.health import STALE_AFTER_S, Slot, complaints
from tallystick.pipeline.observation.watching import watched

NOW_MS = 1_700_000_000_000
RUNNING = Slot(is_running=True, restarts=2, how="killed by SIGKILL", running_for_s=60.0)


def counted() -> Counters:
    counters = Counters(records_in=500, records_out=400, commits=2)
    counters.aborts["step-failed"] += 1
    counters.retries["commit"] += 3
    counters.commits_took.observe(0.004)
    counters.batches_took.observe(0.2)
    counters.positions[("in", 0)] = 10
    counters.open_since_ms = 40_000
    return counters


def step_view(*, turn_ms: int = 41_000) -> StepView:
    lag = {("in", 0): 7, ("in", 1): None}
    return StepView.of("copy", counted(), now_ms=42_500, turn_ms=turn_ms, turn_limit_ms=300_000, lag=lag)


def view(*steps: StepView) -> View:
    return View(slot="a", pid=1, at_ms=NOW_MS, started_at_ms=NOW_MS - 60_000, guarantee="exactly-once", steps=steps)


def test_counters_of_several_lanes_add_up_and_the_oldest_open_transaction_is_shown() -> None:
    one, other = counted(), counted()
    other.open_since_ms, other.positions = 39_000, {("in", 0): 8, ("in", 1): 5}
    total = Counters.total([one, other, Counters()])
    assert (total.records_in, total.aborts["step-failed"], total.retries["commit"]) == (1000, 2, 6)
    assert total.open_since_ms == 39_000
    assert total.positions == {("in", 0): 10, ("in", 1): 5}
    assert sum(total.commits_took.counts) == 2


def test_a_view_comes_back_as_it_was_written(tmp_path: Path) -> None:
    ViewFile(tmp_path / "new", "a").write(view(step_view()))
    assert read_view(tmp_path / "new", "a") == view(step_view())


@pytest.mark.parametrize("text", [b"", b"{", b'{"slot": "a"}', b'{"slot": 1}'])
def test_a_view_that_cannot_be_read_is_none(tmp_path: Path, text: bytes) -> None:
    assert read_view(tmp_path, "a") is None
    (tmp_path / "a.view.json").write_bytes(text)
    assert read_view(tmp_path, "a") is None


def test_ages_are_in_seconds_and_unknown_lag_is_left_out() -> None:
    shown = step_view()
    assert (shown.turn_age_s, shown.open_transaction_age_s, shown.turn_limit_s) == (1.5, 2.5, 300.0)
    assert (shown.lag, shown.partitions) == ({"in-0": 7}, 2)


def test_all_is_well_while_workers_run_tell_and_poll() -> None:
    assert complaints({"a": RUNNING}, {"a": view(step_view())}, now_ms=NOW_MS + 2_000) == []


def test_a_slot_without_a_process_is_named_with_how_the_last_one_ended() -> None:
    dead = replace(RUNNING, is_running=False)
    assert complaints({"a": dead}, {"a": view()}, now_ms=NOW_MS) == ["slot a has no process: killed by SIGKILL"]


def test_a_worker_that_tells_nothing_is_unwell_and_one_that_just_started_is_not() -> None:
    late_ms = NOW_MS + int(STALE_AFTER_S * 1000) + 1
    assert complaints({"a": RUNNING}, {"a": view()}, now_ms=late_ms) == ["slot a has told nothing for 10 s"]
    assert complaints({"a": RUNNING}, {"a": None}, now_ms=NOW_MS) == ["slot a has told nothing for 10 s"]
    assert complaints({"a": replace(RUNNING, running_for_s=3.0)}, {"a": None}, now_ms=NOW_MS) == []


def test_a_step_that_polls_no_more_is_unwell_once_it_loses_its_partitions() -> None:
    hanging = msgspec.structs.replace(step_view(), turn_age_s=301.0)
    (told,) = complaints({"a": RUNNING}, {"a": view(hanging)}, now_ms=NOW_MS)
    assert told == "step copy of slot a has not polled for 301 s, and max.poll.interval.ms is 300000"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    ViewFile(tmp_path, "a").write(view(step_view()))
    slots: Mapping[str, Slot] = {"a": RUNNING, "b": replace(RUNNING, is_running=False, how=None)}
    with watched(("127.0.0.1", 0), tmp_path, lambda: slots) as served:
        yield f"http://127.0.0.1:{served.port}"


def test_prometheus_reads_every_number(page: str) -> None:
    with urllib.request.urlopen(f"{page}/metrics", timeout=10) as answer:  # noqa: S310  # our own page
        text = answer.read().decode()
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    place = (("slot", "a"), ("step", "copy"))
    assert samples["tallystick_records_in_total", *place] == 500
    assert samples["tallystick_aborts_total", ("cause", "step-failed"), *place] == 1
    assert samples["tallystick_retries_total", ("action", "commit"), *place] == 3
    assert samples["tallystick_lag_offsets", ("partition", "in-0"), *place] == 7
    assert samples["tallystick_open_transaction_age_seconds", *place] == 2.5
    assert samples["tallystick_commit_seconds_bucket", ("le", "0.005"), *place] == 1
    assert samples["tallystick_commit_seconds_count", *place] == 1
    assert samples["tallystick_worker_up", ("slot", "b")] == 0
    assert samples["tallystick_worker_restarts_total", ("slot", "a")] == 2


def test_health_is_503_with_what_is_wrong(page: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{page}/healthz", timeout=10)  # noqa: S310  # our own page
    with refused.value as answer:
        told = json.loads(answer.read())
    assert refused.value.code == 503
    assert told["status"] == "unhealthy"
    assert "slot b has no process: it has not started yet" in told["complaints"]


def test_another_path_is_404_and_head_has_no_body(page: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{page}/", timeout=10)  # noqa: S310  # our own page
    refused.value.close()
    assert refused.value.code == 404
    head = urllib.request.Request(f"{page}/metrics", method="HEAD")  # noqa: S310  # our own page
    with urllib.request.urlopen(head, timeout=10) as answer:  # noqa: S310
        assert answer.read() == b""
