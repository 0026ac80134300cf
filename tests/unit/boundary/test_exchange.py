"""A connection that failed carries no other request: whatever moment it failed at, the next one is answered."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import Iterator

import httpx
import pytest

from tallystick.boundary.providers.exchange import Exchange

MOMENTS = 40
"""More turns of the event loop than it takes to connect and to send."""


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002  the base's signature
        return


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # its end waits for every connection's

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves in the middle is what this is about."""


@pytest.fixture
def url() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def transport() -> httpx.AsyncHTTPTransport:
    """As an exchange makes them, without the time that certificates take."""
    return httpx.AsyncHTTPTransport(verify=False, limits=httpx.Limits(max_connections=1), trust_env=False)


async def answered(exchange: Exchange) -> bytes:
    return (await exchange.send("GET", exchange.at("/"), headers={"Host": "provider"})).content


async def given_up(exchange: Exchange, *, after_turns: int) -> None:
    """A request that is cancelled after so many turns of the event loop, as its time limit does it."""
    request = asyncio.create_task(answered(exchange))
    for _ in range(after_turns):
        await asyncio.sleep(0)
    request.cancel()
    await asyncio.wait([request])


@pytest.mark.parametrize("has_connection", [False, True])
def test_after_a_request_that_was_given_up_at_any_moment_the_next_one_is_answered(
    url: str, has_connection: bool
) -> None:
    async def run() -> None:
        for moment in range(MOMENTS):
            exchange = Exchange(url, timeout_ms=20_000, connections=1, transport=transport)
            if has_connection:
                await answered(exchange)
            await given_up(exchange, after_turns=moment)
            assert await answered(exchange) == b"ok"
            await exchange.close()

    asyncio.run(run())
