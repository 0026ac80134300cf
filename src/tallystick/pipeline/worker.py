"""A worker: one process that runs every step of an application, each in a thread of its own.

Owns: ``WorkerConfig`` and ``run_worker``. Must not know: how a transaction goes (``exactly_once``), who restarts
workers (``supervisor``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tallystick.pipeline.app import App


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Where a worker runs.

    ``bootstrap`` is ``host:port[,host:port]``. ``slot`` is the worker's stable name: it is its
    ``group.instance.id`` and part of its transactional ids, and two live workers must never share one (rule 5).
    ``group`` replaces the application's name at the front of group ids, ``{group}.{step}``. A transaction takes at
    most ``batch_records`` records and waits at most ``commit_interval_ms`` for them. ``consumer_config`` and
    ``producer_config`` are librdkafka's settings; one that contradicts the guarantee is refused.
    ``stats_dir`` is a folder in which each incarnation of a worker appends its counters as JSON lines.
    """

    bootstrap: str
    slot: str
    group: str | None = None
    batch_records: int = 500
    commit_interval_ms: int = 100
    consumer_config: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    producer_config: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    stats_dir: Path | None = None


def run_worker(app: App, config: WorkerConfig) -> None:
    """Run all steps of ``app`` until SIGTERM or SIGINT; then finish the open batches and return.

    User code of a step runs in that step's thread only, one call at a time; two steps run at the same time. Must
    be called in the main thread, because it takes the signals. Raises what stopped a step: ``FencedError`` (a newer
    worker owns the slot), ``FatalError``, ``ConfigurationError``.
    """
    raise NotImplementedError
