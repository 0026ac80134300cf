"""The schedules of ``tests/simulation/effects`` on PostgreSQL: a few here, many in ``make test-long``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from tests.simulation.effects.database import emptied, prepare
from tests.simulation.effects.runs import FIRST_SEED, SCHEDULES, run
from tests.support.databases import fresh_postgres_database

from tallystick.boundary import open_database
from tallystick.servers import PostgreSQL

SHARE = 5
"""One schedule of so many runs here as well."""


@pytest.fixture(scope="module")
def engine(postgres_server: PostgreSQL) -> Iterator[Engine]:
    with fresh_postgres_database(postgres_server) as url:
        opened = open_database(url)
        prepare(opened)
        yield opened
        opened.dispose()


@pytest.mark.postgres
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + max(1, SCHEDULES // SHARE)))
def test_truth_and_ledger_agree(engine: Engine, seed: int) -> None:
    with emptied(engine) as empty:
        run(empty, seed)
