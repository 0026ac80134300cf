"""One listening socket and what comes in through it.

Owns: accepting, and the pause while the process may open no more files. Must not know: what becomes of a connection.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

import structlog

logger = structlog.get_logger(__name__)

_PAUSE_WITHOUT_FILES_S: Final = 0.2
_AT_ONCE: Final = 64
_OUT_OF_FILES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Enter = Callable[[socket.socket, str], None]


class Door:
    """Gives each accepted socket, not blocking, to ``enter`` with its peer's host, until ``close``.

    Accepts in a callback of the loop and not in a task: a task that is cancelled between the accepting and its next
    step would leave a socket that nobody closes.
    """

    def __init__(self, listening: socket.socket, enter: Enter, *, name: str) -> None:
        self._listening = listening
        self._enter = enter
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._open()

    def _open(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening, self._accept)

    def close(self) -> None:
        """Listen no more."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, address = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OUT_OF_FILES:
                    self._wait_for_files(error)
                    return
                continue  # the others mean that the peer has gone already
            accepted.setblocking(False)
            self._enter(accepted, str(address[0]))

    def _wait_for_files(self, error: OSError) -> None:
        logger.warning("no connection can be accepted", listener=self._name, reason=error.strerror)
        self._loop.remove_reader(self._listening)
        self._pause = self._loop.call_later(_PAUSE_WITHOUT_FILES_S, self._open)
