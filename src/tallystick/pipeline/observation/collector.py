"""Views as Prometheus' metrics.

Owns: names, labels and texts. Must not know: HTTP, processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from tallystick.pipeline.observation.health import Slot
from tallystick.pipeline.observation.view import StepView, View

_PREFIX: Final = "tallystick_"
_PLACE: Final = ("slot", "step")

_TOTALS: Final = {
    "records_in": "Records of batches that were finished (committed, under exactly-once).",
    "records_out": "Records written by finished batches, dead letters included.",
    "dead_letters": "Records given up, and written to a dead-letter topic.",
    "records_replayed": "Records polled again after an abort.",
    "commits": "Batches that were committed.",
    "assignments": "Times that partitions were assigned.",
    "lost_assignments": "Times that the group took partitions away without asking.",
    "late_events": "Events whose windows were closed, dropped or given to a topic of their own.",
    "duplicates": "Events left out because their id was processed before.",
    "lost_records": "Outputs given up under at-most-once.",
}
_BY_CAUSE: Final = {
    "aborts": ("Transactions aborted, or batches taken back.", "cause"),
    "producers_discarded": ("Producers replaced, because their last transaction could not be trusted.", "cause"),
    "retries": ("Calls made again inside a transaction.", "action"),
}

Watched = tuple[Mapping[str, Slot], Mapping[str, View | None]]


class WorkersCollector(Collector):
    """``look`` is asked at each scrape. Totals begin again when a worker does, which Prometheus knows about."""

    def __init__(self, look: Callable[[], Watched]) -> None:
        self._look = look

    def collect(self) -> Iterable[Metric]:
        """All families, also those that nothing has been counted in."""
        slots, found = self._look()
        views = {name: view for name, view in found.items() if view is not None}
        steps = [(name, step) for name, view in views.items() for step in view.steps]
        yield from _processes(slots, views)
        for name, text in _TOTALS.items():
            family = CounterMetricFamily(f"{_PREFIX}{name}", text, labels=_PLACE)
            for slot, step in steps:
                family.add_metric([slot, step.step], step.totals.get(name, 0))
            yield family
        for name, (text, label) in _BY_CAUSE.items():
            family = CounterMetricFamily(f"{_PREFIX}{name}", text, labels=[*_PLACE, label])
            for slot, step in steps:
                for cause, count in step.totals.get(name, {}).items():
                    family.add_metric([slot, step.step, cause], count)
            yield family
        yield from _moments(steps)


def _processes(slots: Mapping[str, Slot], views: Mapping[str, View]) -> Iterable[Metric]:
    up = GaugeMetricFamily(f"{_PREFIX}worker_up", "Whether the slot has a process.", labels=["slot"])
    restarts = CounterMetricFamily(f"{_PREFIX}worker_restarts", "Processes started again.", labels=["slot"])
    for name, slot in slots.items():
        up.add_metric([name], float(slot.is_running))
        restarts.add_metric([name], slot.restarts)
    yield up
    yield restarts
    told = GaugeMetricFamily(
        f"{_PREFIX}worker_view_timestamp_seconds", "When the worker last told its state.", labels=["slot"]
    )
    for name, view in views.items():
        told.add_metric([name], view.at_ms / 1000)
    yield told


def _moments(steps: list[tuple[str, StepView]]) -> Iterable[Metric]:
    batches = HistogramMetricFamily(
        f"{_PREFIX}batch_seconds", "From the begin of a batch to the answer of its commit.", labels=_PLACE
    )
    commits = HistogramMetricFamily(
        f"{_PREFIX}commit_seconds", "The commit; under exactly-once, with the flush before it.", labels=_PLACE
    )
    partitions = GaugeMetricFamily(f"{_PREFIX}assigned_partitions", "Partitions that the step owns.", labels=_PLACE)
    age = GaugeMetricFamily(
        f"{_PREFIX}open_transaction_age_seconds", "Age of the oldest open transaction; 0: none is.", labels=_PLACE
    )
    polled = GaugeMetricFamily(f"{_PREFIX}poll_age_seconds", "How long ago the step last polled.", labels=_PLACE)
    lag = GaugeMetricFamily(
        f"{_PREFIX}lag_offsets", "From what was committed to the last stable offset.", labels=[*_PLACE, "partition"]
    )
    restoring = GaugeMetricFamily(
        f"{_PREFIX}restoring_offsets", "Changelog offsets that partitions wait for.", labels=_PLACE
    )
    for slot, step in steps:
        place = [slot, step.step]
        read, of = step.restoring or (0, 0)
        restoring.add_metric(place, max(0, of - read))
        batches.add_metric(place, step.batches_took.histogram().buckets(), step.batches_took.sum_s)
        commits.add_metric(place, step.commits_took.histogram().buckets(), step.commits_took.sum_s)
        partitions.add_metric(place, step.partitions)
        age.add_metric(place, step.open_transaction_age_s or 0.0)
        polled.add_metric(place, step.turn_age_s)
        for partition, behind in step.lag.items():
            lag.add_metric([*place, partition], behind)
    yield from (batches, commits, partitions, age, polled, lag, restoring)
