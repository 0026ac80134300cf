"""A door: what comes in, the pause without files, and that no accepted socket is left open behind it."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.broker.test_server import serving

from tallystick.broker.door import Door


class WithoutFiles(socket.socket):
    """Has no files for the first connection that it is asked for."""

    asked = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.asked += 1
        if self.asked == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.fixture
def listening() -> Iterator[WithoutFiles]:
    with WithoutFiles() as opened:
        opened.bind(("127.0.0.1", 0))
        opened.listen()
        opened.setblocking(False)
        yield opened


def test_who_comes_while_there_are_no_files_is_let_in_later(listening: WithoutFiles) -> None:
    async def one() -> str:
        entered: asyncio.Queue[tuple[socket.socket, str]] = asyncio.Queue()
        door = Door(listening, lambda accepted, host: entered.put_nowait((accepted, host)), name="PLAINTEXT")
        with socket.create_connection(listening.getsockname()):
            accepted, host = await asyncio.wait_for(entered.get(), 20)
            accepted.close()
        door.close()
        return host

    assert asyncio.run(one()) == "127.0.0.1"
    assert listening.asked >= 2


def test_a_door_that_closes_during_the_pause_stays_closed(listening: WithoutFiles) -> None:
    async def none() -> None:
        door = Door(listening, lambda *_: pytest.fail("it is closed"), name="PLAINTEXT")
        with socket.create_connection(listening.getsockname()):
            while not listening.asked:  # noqa: ASYNC110 - a step of the loop is what it waits for
                await asyncio.sleep(0)
            door.close()
        assert listening.fileno() == -1

    asyncio.run(none())


def test_a_server_that_is_abandoned_closes_what_it_had_just_accepted(tmp_path: Path) -> None:
    """Before the connection's task has made its first step; a socket left open is a warning, and that is an error."""

    async def abandon() -> bytes:
        async with serving(tmp_path) as (server, _):
            with socket.create_connection(("127.0.0.1", next(iter(server.ports.values())))) as client:
                while not server.connection_count:  # noqa: ASYNC110 - a step of the loop is what it waits for
                    await asyncio.sleep(0)
                server.abort()
                await server.close()
                client.settimeout(20)
                return client.recv(1)

    assert asyncio.run(abandon()) == b""
    gc.collect()
