"""The data folder: one owner, one format, one identity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tallystick.broker.log.data_folder import FORMAT_FILE, DataFolder
from tallystick.errors import ConfigurationError, CorruptData


def test_a_folder_keeps_its_identity(tmp_path: Path) -> None:
    first = DataFolder(tmp_path / "data")
    cluster_id = first.format.cluster_id
    first.close(clean=True)
    again = DataFolder(tmp_path / "data")
    assert again.format.cluster_id == cluster_id
    again.close(clean=True)
    assert len(cluster_id) == 22


def test_a_second_broker_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    owner = DataFolder(tmp_path / "data")
    with pytest.raises(ConfigurationError, match="in use by another broker"):
        DataFolder(tmp_path / "data")
    owner.close(clean=True)
    DataFolder(tmp_path / "data").close(clean=True)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    DataFolder(tmp_path / "data").close(clean=True)
    file = tmp_path / "data" / FORMAT_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format_version": 3}))
    for _ in range(2):  # refusing gives the lock back
        with pytest.raises(ConfigurationError, match=r"format version 3; this program knows 2\. Use a newer"):
            DataFolder(tmp_path / "data")


def test_a_damaged_format_file_is_reported(tmp_path: Path) -> None:
    DataFolder(tmp_path / "data").close(clean=True)
    (tmp_path / "data" / FORMAT_FILE).write_text("{")
    with pytest.raises(CorruptData, match=FORMAT_FILE):
        DataFolder(tmp_path / "data")


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"holds 'thesis\.txt'"):
        DataFolder(tmp_path)


def test_a_crash_while_the_format_was_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "tallystick-format.new").write_text("{")
    DataFolder(tmp_path).close(clean=True)
