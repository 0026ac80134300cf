"""The broker's end of the control channel, in a child process.

Owns: reading commands from the inherited socket, answering them, telling of injections, and the broker's own SIGKILL.
Must not know: what a command does (``control``).

What is told goes out before it takes effect, and is waited for: a parent that stopped reading for a second has lost its
channel.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import Final

import structlog

from tallystick.broker.control.execute import execute
from tallystick.broker.control.messages import (
    Dying,
    Line,
    Lines,
    Load,
    MalformedLine,
    Noted,
    Reply,
    Told,
    decode_line,
    encode,
)
from tallystick.broker.faults.injection import Injection
from tallystick.broker.faults.injector import Injector
from tallystick.broker.faults.plan import FaultPlan
from tallystick.clock import SystemClock
from tallystick.errors import ConfigurationError

logger = structlog.get_logger(__name__)

_SEND_TIMEOUT_S: Final = 1.0
_FIRST_LINE_TIMEOUT_S: Final = 30.0
_READ_BYTES: Final = 65_536


class ChildEnd:
    """Made from the descriptor that the parent passed on; ``injector`` has the parent's plan at once."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._lines = Lines()
        self.injector = Injector(FaultPlan(), clock=SystemClock(), note=self._noted, kill=self._die)
        self._loop: asyncio.AbstractEventLoop | None = None

    def load(self) -> None:
        """Wait for the parent's plan. ``ConfigurationError`` says what is wrong with it."""
        self._socket.settimeout(_FIRST_LINE_TIMEOUT_S)
        lines: list[bytes] = []
        while not lines:
            data = self._socket.recv(_READ_BYTES)
            if not data:
                raise MalformedLine("the control channel ended before it began")
            lines = self._lines.feed(data)
        self._socket.settimeout(_SEND_TIMEOUT_S)
        first, *others = (decode_line(line) for line in lines)
        if not isinstance(first.command, Load):
            raise MalformedLine("the control channel does not begin with a plan")
        execute(first.command, self.injector)
        self._tell(Reply(first.number, self.injector.plan.state()))
        for line in others:
            self._obey(line)

    def serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Obey what comes from now on."""
        self._loop = loop
        loop.add_reader(self._socket.fileno(), self._read)

    def close(self) -> None:
        """Obey and tell no more."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop = None
        self._socket.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
            for line in self._lines.feed(data):
                self._obey(decode_line(line))
        except (OSError, MalformedLine) as error:
            logger.warning("the control channel fails", reason=str(error))
            data = b""
        if not data:
            self.close()

    def _obey(self, line: Line) -> None:
        error = ""
        try:
            execute(line.command, self.injector)
        except ConfigurationError as refused:
            error = str(refused)
        self._tell(Reply(line.number, self.injector.plan.state(), error))

    def _noted(self, injection: Injection) -> None:
        logger.info("a fault is injected", fault=injection.fault, api=injection.api, number=injection.number)
        self._tell(Noted(injection))

    def _die(self) -> None:
        self._tell(Dying(self.injector.plan.state()))
        os.kill(os.getpid(), signal.SIGKILL)

    def _tell(self, told: Told) -> None:
        if self._socket.fileno() < 0:
            return
        try:
            self._socket.sendall(encode(told))
        except OSError as error:
            logger.warning("the control channel fails", reason=str(error))
            self.close()
