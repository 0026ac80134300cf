"""A provider without HTTP, on a store of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tallystick.clock import ManualClock
from tallystick.sandbox.faults import FaultPlan
from tallystick.sandbox.provider import Answer, SandboxProvider
from tallystick.sandbox.store import Store

WINDOW_MS = 86_400_000
FORM = "application/x-www-form-urlencoded"


@dataclass
class Shop:
    """A provider and a client that never leaves."""

    provider: SandboxProvider
    store: Store
    clock: ManualClock
    reopen: Callable[[], Shop] = field(repr=False)

    def charge(self, key: str | None, **fields: Any) -> Answer:
        return asyncio.run(self.start(key, **fields))

    async def start(self, key: str | None, *, leaves: asyncio.Event | None = None, **fields: Any) -> Answer:
        asked = {"amount": 1000, "currency": "usd", "reference": "r-1", "customer": "c-1", **fields}
        left = (leaves or asyncio.Event()).wait()
        try:
            return await self.provider.charge(key, urlencode(asked).encode(), FORM, left)  # type: ignore[arg-type]
        finally:
            left.close()

    @property
    def charged_minor(self) -> list[int]:
        return [charge.amount_minor for charge in self.store.charges.values() if charge.moved_money]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    opened: list[Store] = []
    clock = ManualClock(start_ms=1_700_000_000_000)

    def open_shop() -> Shop:
        store = Store(tmp_path / "data", seed=1)
        opened.append(store)
        return Shop(
            SandboxProvider(store, FaultPlan(seed=1), clock=clock, window_ms=WINDOW_MS), store, clock, open_shop
        )

    yield open_shop()
    for store in opened:
        store.close()
