"""The journal of faults: what was injected into which request.

Owns: one entry, and the list with its bound. Must not know: who writes it and from which process.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

import msgspec

MAX_INJECTIONS: Final = 10_000
"""The oldest entries go first; ``count`` goes on counting."""


class Injection(msgspec.Struct, frozen=True):
    """One strike. ``fault`` is the fault's label; ``number`` is the request's among those that the fault matches.

    The texts say what the request was about; there is no time and no port in it, so that two runs compare.
    """

    fault: str
    action: str
    api: str
    client_id: str | None
    number: int
    topics: tuple[str, ...] = ()
    transactional_ids: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    kills: bool = False
    """The broker dies of it."""

    def __str__(self) -> str:
        about = [*self.topics, *self.transactional_ids, *self.groups]
        named = "" if self.fault.startswith(self.action) else f"{self.fault}: "
        whose = self.client_id or "no client id"
        return " ".join([f"{named}{self.action}: {self.api} number {self.number} of {whose}", *about])


class InjectionLog:
    """Written by one thread, read and waited for by others."""

    def __init__(self) -> None:
        self._entries: deque[Injection] = deque(maxlen=MAX_INJECTIONS)
        self._struck: dict[str, int] = {}
        self._changed = threading.Condition()

    def append(self, injection: Injection) -> None:
        with self._changed:
            self._entries.append(injection)
            self._struck[injection.fault] = self._struck.get(injection.fault, 0) + 1
            self._changed.notify_all()

    def entries(self) -> tuple[Injection, ...]:
        with self._changed:
            return tuple(self._entries)

    def clear(self) -> None:
        with self._changed:
            self._entries.clear()
            self._struck.clear()

    def wait_for(self, label: str, *, times: int, timeout_s: float) -> bool:
        """Whether the fault struck so often within that time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._struck.get(label, 0) >= times, timeout_s)
