"""Fixtures of several contract tests: a database with our tables.

A file that needs more in it has an ``engine`` of its own, which asks for this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sqlalchemy import Engine


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Each database in turn, empty but for our tables."""
    from tallystick.boundary import create_tables, open_database

    opened = open_database(database_url)
    create_tables(opened)
    yield opened
    opened.dispose()
