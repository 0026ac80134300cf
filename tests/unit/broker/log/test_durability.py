"""Who waits for the disk, and for how much of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.log.durability import Durability, SyncedFile, SyncFailed


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SyncedFile]:
    synced = SyncedFile(os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT))
    yield synced
    if not synced.closed:
        os.close(synced.fd)


async def running(durability: Durability) -> asyncio.Task[None]:
    return asyncio.create_task(durability.run())


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_nobody_waits_under_never(file: SyncedFile) -> None:
    async def run() -> None:
        durability = Durability(FsyncPolicy.NEVER)
        durability.wrote(file, 1)
        await durability.wait(durability.written)

    asyncio.run(run())


def test_an_acknowledgement_waits_for_its_write_under_commit(file: SyncedFile) -> None:
    marks: list[int] = []

    async def run() -> None:
        file.on_synced = marks.append
        durability = Durability(FsyncPolicy.COMMIT)
        durability.wrote(file, 10)
        waiting = asyncio.create_task(durability.wait(durability.written))
        await asyncio.sleep(0)
        assert not waiting.done()
        task = await running(durability)
        await asyncio.wait_for(waiting, 10)
        assert marks == [10]
        assert durability.synced == 1
        await stopped(task)

    asyncio.run(run())


def test_many_writes_share_one_sync(file: SyncedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[int] = []
    monkeypatch.setattr(os, "fdatasync", syncs.append)

    async def run() -> None:
        durability = Durability(FsyncPolicy.COMMIT)
        for mark in range(50):
            durability.wrote(file, mark)
        waiting = [asyncio.create_task(durability.wait(written)) for written in range(1, 51)]
        task = await running(durability)
        await asyncio.wait_for(asyncio.gather(*waiting), 10)
        await stopped(task)

    asyncio.run(run())
    assert len(syncs) == 1


def test_a_failed_sync_stops_everything(file: SyncedFile) -> None:
    async def run() -> None:
        durability = Durability(FsyncPolicy.COMMIT)
        os.close(file.fd)
        file.closed = True
        durability.wrote(file, 1)
        with pytest.raises(SyncFailed, match="Bad file descriptor"):
            await asyncio.wait_for(durability.run(), 10)

    asyncio.run(run())


def test_a_file_that_others_must_not_overtake_is_synced_at_once(
    file: SyncedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []
    monkeypatch.setattr(os, "fdatasync", syncs.append)
    durability = Durability(FsyncPolicy.INTERVAL)
    durability.wrote(file, 1)
    durability.sync_now(file)
    durability.sync_now(file)
    assert len(syncs) == 1
    durability.wrote(file, 2)
    durability.sync_now(file)
    assert len(syncs) == 2
