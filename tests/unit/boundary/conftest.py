"""An SQLite database of its own for each test, closed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tallystick.boundary import create_tables, open_database


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_database(f"sqlite:///{tmp_path / 'boundary.sqlite'}")
    create_tables(opened)
    yield opened
    opened.dispose()
