"""The bytes of a connection: what is read is what was sent, however it was cut up, and the sender is slowed down."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from tallystick.broker.byte_stream import SMALL_BYTES, ByteStream

LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
NewLoop = Callable[[], asyncio.AbstractEventLoop]


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[ByteStream, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    stream = ByteStream()
    await asyncio.get_running_loop().connect_accepted_socket(lambda: stream, ours)
    try:
        yield stream, theirs
    finally:
        stream.abort()
        theirs.close()


def run(new_loop: NewLoop, case: Callable[[ByteStream, socket.socket], Awaitable[None]]) -> None:
    async def connect() -> None:
        async with asyncio.timeout(30), connected() as (stream, peer):
            await case(stream, peer)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(connect())


@LOOPS
@pytest.mark.parametrize("seed", range(5))
def test_what_is_read_is_what_was_sent_in_short_and_long_reads(new_loop: NewLoop, seed: int) -> None:
    chooser = random.Random(seed)
    sent = chooser.randbytes(3_000_000)

    async def case(stream: ByteStream, peer: socket.socket) -> None:
        loop = asyncio.get_running_loop()

        async def send() -> None:
            at = 0
            while at < len(sent):
                size = chooser.choice([1, 7, 1_000, SMALL_BYTES, 100_000])
                await loop.sock_sendall(peer, sent[at : at + size])
                at += size
                if chooser.random() < 0.3:
                    await asyncio.sleep(0)

        sending = asyncio.create_task(send())
        at = 0
        while at < len(sent):
            size = min(chooser.choice([1, 4, 500, SMALL_BYTES, SMALL_BYTES + 1, 200_000, 1_000_000]), len(sent) - at)
            if size <= 2 * SMALL_BYTES:
                got = await stream.read(size)
            else:
                place = memoryview(bytearray(size))
                await stream.read_into(place)
                got = bytes(place)
            assert got == sent[at : at + size]
            at += size
        await sending

    run(new_loop, case)


@LOOPS
def test_what_nobody_asks_for_stays_with_the_sender(new_loop: NewLoop) -> None:
    async def case(stream: ByteStream, peer: socket.socket) -> None:
        sent = 0
        idle = 0
        while idle < 50:
            try:
                sent += peer.send(b"x" * 65_536)
                idle = 0
            except BlockingIOError:
                idle += 1
            await asyncio.sleep(0)
        assert await stream.read(1) == b"x"
        place = memoryview(bytearray(sent - 1))
        await stream.read_into(place)
        assert bytes(place) == b"x" * (sent - 1)

    run(new_loop, case)


@LOOPS
def test_what_came_before_the_end_is_read_and_then_the_end_is_told(new_loop: NewLoop) -> None:
    async def case(stream: ByteStream, peer: socket.socket) -> None:
        peer.send(b"1234567")
        peer.shutdown(socket.SHUT_WR)
        assert await stream.read(4) == b"1234"
        with pytest.raises(asyncio.IncompleteReadError):
            await stream.read(4)
        stream.write([b"an ", b"answer"])
        await stream.drained()
        assert await asyncio.get_running_loop().sock_recv(peer, 100) == b"an answer"

    run(new_loop, case)


@LOOPS
def test_a_long_read_that_ends_early_tells_the_end(new_loop: NewLoop) -> None:
    async def case(stream: ByteStream, peer: socket.socket) -> None:
        peer.send(b"x" * 1_000)
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(asyncio.IncompleteReadError):
            await stream.read_into(memoryview(bytearray(2_000)))

    run(new_loop, case)


@LOOPS
def test_who_waits_to_send_is_told_when_the_peer_is_gone(new_loop: NewLoop) -> None:
    async def case(stream: ByteStream, peer: socket.socket) -> None:
        stream.write([b"x" * 10_000_000])
        waiting = asyncio.create_task(stream.drained())
        await asyncio.sleep(0)
        assert not waiting.done()
        peer.close()
        await waiting
        await stream.closed()
        with pytest.raises(ConnectionError):
            await stream.drained()

    run(new_loop, case)


@LOOPS
def test_discarding_reads_until_the_end(new_loop: NewLoop) -> None:
    async def case(stream: ByteStream, peer: socket.socket) -> None:
        discarding = asyncio.create_task(stream.discard())
        await asyncio.get_running_loop().sock_sendall(peer, b"x" * 1_000_000)
        assert not discarding.done()
        peer.shutdown(socket.SHUT_WR)
        await discarding

    run(new_loop, case)
