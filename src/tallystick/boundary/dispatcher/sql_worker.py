"""SQL beside the event loop: one thread, and patience while the database is away.

Owns: the thread and the repeating. Must not know: what is run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Final, TypeVar

import structlog
from sqlalchemy.exc import DBAPIError

from tallystick.boundary.database import is_away

_T = TypeVar("_T")
_TRIES: Final = 20
_PAUSE_S: Final = 0.5

_log = structlog.get_logger(__name__)


class SqlWorker:
    """Runs one piece of SQL after the other, outside the event loop."""

    def __init__(self, executor: Executor | None = None) -> None:
        self._executor = executor or ThreadPoolExecutor(max_workers=1, thread_name_prefix="effect-sql")

    async def run(self, work: Callable[[], _T]) -> _T:
        """A lost connection is repeated: every statement of the ledger names state and token, so twice is once."""
        loop = asyncio.get_running_loop()
        for remaining in reversed(range(_TRIES)):
            try:
                return await loop.run_in_executor(self._executor, work)
            except DBAPIError as error:
                if not is_away(error) or remaining == 0:
                    raise
                _log.warning("dispatcher.sql-repeated", reason=str(error.orig))
                await asyncio.sleep(_PAUSE_S)
        raise AssertionError("unreachable")

    def close(self) -> None:
        self._executor.shutdown()
