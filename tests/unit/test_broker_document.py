"""docs/broker.md tells the APIs and versions that the broker really offers."""

from __future__ import annotations

import re
from pathlib import Path

from tallystick.broker.registry import APIS

DOCUMENT = Path(__file__).parents[2] / "docs" / "broker.md"
ROW = re.compile(r"^\| (\d+) \| `(\w+)` \| (\d+) to (\d+) \|$", flags=re.MULTILINE)


def test_the_table_of_apis_is_the_registry() -> None:
    told = [(int(key), name, int(low), int(high)) for key, name, low, high in ROW.findall(DOCUMENT.read_text())]
    assert told == [(api.key, api.name, api.min_version, api.max_version) for api in APIS]
