"""The parent's end of the control channel to a broker in a child process.

Owns: the pair of sockets, the thread that reads what the child tells. Must not know: what commands and plans mean.
"""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable
from typing import Final

from tallystick.broker.control.messages import (
    Command,
    Dying,
    Line,
    Lines,
    MalformedLine,
    Noted,
    Reply,
    Told,
    decode_told,
    encode,
)
from tallystick.broker.faults.injection import Injection
from tallystick.broker.faults.plan import PlanState

ANSWER_TIMEOUT_S: Final = 20.0
_READ_BYTES: Final = 65_536


class ParentEnd:
    """``child_fd`` is to be inherited by the child and closed here once the child has it, by ``child_started``."""

    def __init__(self, note: Callable[[Injection], None]) -> None:
        self._socket, self._child_socket = socket.socketpair()
        self._note = note
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._replies: dict[int, Reply] = {}
        self._waiting: set[int] = set()
        self.has_ended = False
        """The child says nothing any more."""
        self.last_state: PlanState | None = None
        self.is_dying = False
        """The child said that a fault kills it."""
        self._reader = threading.Thread(target=self._read, name="tallystick-faults", daemon=True)
        self._reader.start()

    @property
    def child_fd(self) -> int:
        return self._child_socket.fileno()

    def child_started(self) -> None:
        """The child has its end."""
        self._child_socket.close()

    def say(self, command: Command) -> None:
        """Send without waiting for the reply."""
        self._send(Line(next(self._numbers), command))

    def ask(self, command: Command, *, timeout_s: float = ANSWER_TIMEOUT_S) -> Reply | None:
        """The reply; None if the child is gone, or does not answer in time."""
        number = next(self._numbers)
        with self._changed:
            self._waiting.add(number)
        if self._send(Line(number, command)):
            with self._changed:
                self._changed.wait_for(lambda: number in self._replies or self.has_ended, timeout_s)
        with self._changed:
            self._waiting.discard(number)
            return self._replies.pop(number, None)

    def _send(self, line: Line) -> bool:
        """Whether the child may get it."""
        try:
            with self._sending:
                self._socket.sendall(encode(line))
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Read what the child said last, and end. Only after the child's end: the reader waits for it."""
        self._child_socket.close()
        self._reader.join(ANSWER_TIMEOUT_S)
        self._socket.close()

    def _read(self) -> None:
        lines = Lines()
        try:
            while data := self._socket.recv(_READ_BYTES):
                for line in lines.feed(data):
                    self._take(decode_told(line))
        except (OSError, MalformedLine):
            pass  # the child is gone, as far as this channel goes: whoever asks is told so
        with self._changed:
            self.has_ended = True
            self._changed.notify_all()

    def _take(self, told: Told) -> None:
        match told:
            case Noted(injection):
                self.is_dying = self.is_dying or injection.kills
                self._note(injection)
            case Dying(state):
                self.last_state = state
            case Reply():
                with self._changed:
                    self.last_state = told.state
                    if told.number in self._waiting:
                        self._replies[told.number] = told
                    self._changed.notify_all()
