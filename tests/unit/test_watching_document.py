"""docs/watching.md names every metric of a worker, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from tallystick.pipeline.observation.collector import WorkersCollector

DOCUMENT = Path(__file__).parents[2] / "docs" / "watching.md"


def test_the_table_has_each_metric_once_and_nothing_else() -> None:
    table = DOCUMENT.read_text().split("| metric |")[1].split("\n\n")[0]
    told = re.findall(r"`(tallystick_\w+)`", table)
    counted = [
        family.name + ("_total" if family.type == "counter" else "")
        for family in WorkersCollector(lambda: ({}, {})).collect()
    ]
    assert sorted(told) == sorted(counted)
