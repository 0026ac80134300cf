"""A data folder that an older program wrote is opened, holds what it held, and is of the present format then.

``format_1`` was written by the program of format 1, which was then killed: two topics over several segments, committed
and aborted transactions, one that is open, one that was decided and not completed, committed and pending offsets.
``expected.json`` is what that program said of it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.unit.broker.in_process import opened

from tallystick.broker.log import data_folder
from tallystick.broker.log.data_folder import FORMAT_FILE, FORMAT_VERSION, MIGRATIONS, DataFolder
from tallystick.broker.log.settings import LogSettings
from tallystick.broker.node import Node
from tallystick.broker.transactions.records import TransactionStatus
from tallystick.clock import ManualClock
from tallystick.errors import ConfigurationError

HERE = Path(__file__).parent
CLOCK = ManualClock(start_ms=1_700_000_001_000)
SMALL = LogSettings(log_segment_bytes=700)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    shutil.copytree(HERE / "format_1" / "data", tmp_path / "data")
    return tmp_path / "data"


EXPECTED: dict[str, Any] = json.loads((HERE / "format_1" / "expected.json").read_text())


def check(node: Node) -> None:
    assert node.cluster_id == EXPECTED["cluster_id"]
    assert {topic.name: topic.topic_id.hex for topic in node.partitions.all()} == EXPECTED["topics"]
    for name, expected in EXPECTED["partitions"].items():
        topic, _, index = name.rpartition("-")
        partition = node.partitions.partition(topic, int(index))
        assert partition is not None
        prepared = name != "audit-0"  # the start writes the commit marker of the transaction that was decided
        assert partition.log.end_offset == expected["end_offset"] + prepared
        assert partition.last_stable_offset == expected["last_stable_offset"]
        rows = partition.log.aborted_between(0, partition.log.end_offset)
        assert [[row.producer_id, row.first_offset, row.last_offset] for row in rows] == expected["aborted"]
    states = {state.transactional_id: state for state in node.transactions.transactions()}
    assert states["app/g/0/1"].status is TransactionStatus.ONGOING
    assert [states["app/g/0/1"].producer_id, states["app/g/0/1"].producer_epoch] == EXPECTED["open_producer"]
    assert states["app/g/0/2"].status is TransactionStatus.COMPLETE_COMMIT
    (row,) = node.groups.offsets.fetch("billing", None, require_stable=False)
    assert row.offset == 7, "the decided transaction's offset is visible now"
    (row,) = node.groups.offsets.fetch("other", None, require_stable=False)
    assert [row.topic, row.partition, row.offset] == EXPECTED["other"][0]


def test_a_folder_of_format_1_is_opened_and_brought_up_to_date(old: Path) -> None:
    for _ in range(3):
        with opened(old, clock=CLOCK, log_settings=SMALL) as node:
            check(node)
        assert json.loads((old / FORMAT_FILE).read_text())["format_version"] == FORMAT_VERSION
    assert len([*old.rglob("*.index")]) == len([*old.rglob("*.log")])


def test_a_migration_that_fails_leaves_the_old_format(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(data_folder.MIGRATIONS, 1, fails)
    with pytest.raises(OSError, match="No space"), opened(old, clock=CLOCK, log_settings=SMALL):
        pass
    assert json.loads((old / FORMAT_FILE).read_text())["format_version"] == 1
    monkeypatch.undo()
    with opened(old, clock=CLOCK, log_settings=SMALL) as node:
        check(node)


def test_every_older_format_has_its_migration() -> None:
    assert sorted(MIGRATIONS) == list(range(1, FORMAT_VERSION))


def test_a_folder_without_a_way_up_is_refused(tmp_path: Path) -> None:
    DataFolder(tmp_path).close(clean=True)
    file = tmp_path / FORMAT_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format_version": 0}))
    with pytest.raises(ConfigurationError, match="format version 0"):
        DataFolder(tmp_path)
