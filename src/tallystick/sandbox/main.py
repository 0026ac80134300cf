"""Starts the sandbox: listens, says so in one line of JSON, serves until SIGTERM.

Owns: the process. Must not know: routes. The command line (``__main__`` and ``tallystick sandbox``) calls ``serve``.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path
from typing import Final

import uvicorn

from tallystick.clock import SystemClock
from tallystick.errors import ConfigurationError
from tallystick.listening import loopback_address
from tallystick.sandbox.api import SandboxApi
from tallystick.sandbox.faults import FaultPlan, parse_option
from tallystick.sandbox.provider import SandboxProvider
from tallystick.sandbox.server import SandboxApplication, deliver_webhooks
from tallystick.sandbox.store import Store

DEFAULT_WINDOW_MS: Final = 86_400_000


def serve(
    *,
    listen: str,
    data: Path,
    seed: int = 0,
    faults: str | None = None,
    window_ms: int = DEFAULT_WINDOW_MS,
    ready_file: Path | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. Raises ``ConfigurationError`` for settings that make no sense."""
    host, port = loopback_address(listen, option="--listen", why="the sandbox has no access control")
    if window_ms < 1:
        raise ConfigurationError(f"a window of {window_ms} ms holds no key")
    plan = FaultPlan(seed=seed) if faults is None else parse_option(faults, seed=seed)
    store = Store(data, seed=seed)
    provider = SandboxProvider(store, plan, clock=SystemClock(), window_ms=window_ms)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {listen}: {error.strerror}") from error
        listener.listen(1024)
        api = SandboxApi(provider, seed=seed)
        server = new_server(api)
        line = {"event": "ready", "host": host, "port": listener.getsockname()[1], "pid": os.getpid()}
        _announce(json.dumps({**line, "recovery": {"charges": len(store.charges)}}), ready_file)
        asyncio.run(serve_until_stopped(server, api, listener))
    store.close()


def new_server(api: SandboxApi) -> uvicorn.Server:
    """A server over the sandbox's addresses, which does not listen yet."""
    return uvicorn.Server(
        uvicorn.Config(
            SandboxApplication(api),
            http="h11",
            log_level="error",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
    )


async def serve_until_stopped(server: uvicorn.Server, api: SandboxApi, listener: socket.socket) -> None:
    """Answer requests and send webhooks until the server is told to stop."""
    sending = asyncio.create_task(deliver_webhooks(api))
    try:
        await server.serve(sockets=[listener])
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


def _announce(line: str, ready_file: Path | None) -> None:
    """The socket listens already: a client that connects now waits in its backlog until the loop runs."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    if ready_file is not None:
        partial = ready_file.with_suffix(".tmp")
        partial.write_text(line)
        partial.replace(ready_file)
