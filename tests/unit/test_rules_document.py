"""docs/rules.md names tests; every named test exists, and no rule is missing."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (\d+) \|.*\| ([^|]+) \|$", flags=re.MULTILINE)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_rule_from_1_to_36_is_there_once() -> None:
    rows = ROW.findall((ROOT / "docs" / "rules.md").read_text())
    assert [int(number) for number, _ in rows] == list(range(1, 37))


def test_every_test_that_the_document_names_exists() -> None:
    for path, name in NAMED.findall((ROOT / "docs" / "rules.md").read_text()):
        source = (ROOT / path).read_text()
        assert re.search(rf"def {name}\(", source), f"{path} has no {name}"
