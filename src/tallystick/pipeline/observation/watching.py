"""A supervisor's workers, watched: their views and processes on a page.

Owns: bringing the two together. Must not know: names of metrics, HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog

from tallystick.pipeline.observation.collector import Watched, WorkersCollector
from tallystick.pipeline.observation.health import Slot, complaints
from tallystick.pipeline.observation.page import MetricsPage
from tallystick.pipeline.observation.view import read_view

log = structlog.get_logger(__name__)


@contextmanager
def watched(address: tuple[str, int], folder: Path, slots: Callable[[], Mapping[str, Slot]]) -> Iterator[MetricsPage]:
    """Serve the page inside the ``with`` block. ``folder`` is where the workers show themselves."""

    def look() -> Watched:
        now = slots()
        return now, {name: read_view(folder, name) for name in now}

    def wrong() -> list[str]:
        return complaints(*look(), now_ms=time.time_ns() // 1_000_000)

    page = MetricsPage(address, WorkersCollector(look), wrong)
    log.info("metrics", url=f"http://{address[0]}:{page.port}/metrics")
    try:
        yield page
    finally:
        page.close()
