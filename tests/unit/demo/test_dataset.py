"""The data set is the one expected, byte for byte, or it is refused. No network here."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tallystick.demo import dataset
from tallystick.demo.dataset import DirectTotals, cdnow_files, direct_totals
from tallystick.errors import CorruptData

SAMPLE_LINES = (
    b" 00004  0001 19970101  2   29.33\r\n 00004  0001 19970101  2   29.33\r\n 00021  0002 19970113  1    0.00\r\n"
)
MASTER_LINES = b"customer_id date number_of_cds dollar_value\r\n 00001 19970101  1   11.77\r\n"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel of the same shape with tiny files, and its digests in place of the real ones."""
    path = tmp_path / "tiny.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in ((dataset.SAMPLE, SAMPLE_LINES), (dataset.MASTER, MASTER_LINES)):
            archive.writestr(f"lifetimes/datasets/{name}", content)
            monkeypatch.setitem(dataset.FILES_SHA256, name, dataset._sha256(content))
    monkeypatch.setattr(dataset, "WHEEL_SHA256", dataset._sha256(path.read_bytes()))
    return path


def test_both_files_are_taken_out_and_kept(tmp_path: Path, wheel: Path) -> None:
    cache = tmp_path / "cache"
    paths = cdnow_files(cache, wheel=wheel)
    assert paths[dataset.SAMPLE].read_bytes() == SAMPLE_LINES
    assert sorted(path.name for path in cache.iterdir()) == [dataset.MASTER, dataset.SAMPLE]
    wheel.unlink()
    assert cdnow_files(cache, wheel=wheel) == paths  # the second time needs nothing


def test_a_file_that_was_changed_is_taken_out_again(tmp_path: Path, wheel: Path) -> None:
    paths = cdnow_files(tmp_path / "cache", wheel=wheel)
    paths[dataset.SAMPLE].write_bytes(b"half")
    assert cdnow_files(tmp_path / "cache", wheel=wheel)[dataset.SAMPLE].read_bytes() == SAMPLE_LINES


def test_another_wheel_is_refused(tmp_path: Path, wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(CorruptData, match="SHA-256 differs"):
        cdnow_files(tmp_path / "cache", wheel=wheel)


def test_another_file_in_the_wheel_is_refused(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dataset.FILES_SHA256, dataset.MASTER, "0" * 64)
    with pytest.raises(CorruptData, match=r"not the data that is expected.*CDNOW_master\.txt"):
        cdnow_files(tmp_path / "cache", wheel=wheel)


def test_the_direct_reading_counts_every_purchase_and_no_header(tmp_path: Path, wheel: Path) -> None:
    paths = cdnow_files(tmp_path / "cache", wheel=wheel)
    assert direct_totals(paths[dataset.SAMPLE]) == DirectTotals(3, 5866)
    assert direct_totals(paths[dataset.MASTER]) == DirectTotals(1, 1177)
