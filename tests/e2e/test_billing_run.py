"""The main job, as a person runs it: the command, its kills, its certificate, on both stacks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tallystick.demo.dataset import SAMPLE, cdnow_files, direct_totals
from tallystick.reconciliation.certificate import verify_certificate
from tallystick.servers.cache import cache_folder

TIMEOUT_S = 540


@pytest.fixture(scope="session")
def cache() -> Path:
    """The cache that the servers share: CI downloads everything once."""
    return cache_folder()


@pytest.mark.timeout(TIMEOUT_S + 30)
@pytest.mark.parametrize("on", ["embedded", "apache"])
def test_every_purchase_is_billed_and_charged_once_under_kills(on: str, tmp_path: Path, cache: Path) -> None:
    command = [sys.executable, "-m", "tallystick.cli.main", "demo", "billing", "--on", on]
    command += ["--folder", str(tmp_path), "--cache", str(cache)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr

    folder = tmp_path / "run-1"
    certificate = verify_certificate((folder / "certificate.json").read_bytes(), place="certificate.json")
    direct = direct_totals(cdnow_files(cache)[SAMPLE])
    assert certificate["status"] == "COMPLETE"
    assert (certificate["matched"]["sums_minor"], certificate["breaks"]) == ({"USD": direct.cents}, [])
    assert all(control["holds"] for control in certificate["controls"])
    counts = certificate["counts"]
    assert counts["lines accepted"] == direct.purchases
    assert (counts["lines quarantined"], counts["lines sent twice"]) == (5, 7)

    kills = Counter(json.loads(line)["kill_point"] for line in (folder / "kills.jsonl").read_text().splitlines())
    assert kills == {"cycle.after-offsets": 1, "inbox.after-sql-commit": 1, "effect.after-response": 1}
    assert "the broker is back on its data" in ended.stdout
    assert "inbox rows met again on replay" in ended.stdout
