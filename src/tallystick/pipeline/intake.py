"""What waits for one lane: messages, and changes of the assignment, which go before them.

Owns: ``Intake``, the one place where the polling thread and a lane's thread meet, and ``Doorbell``, by which lanes wake
the polling thread. Must not know: transactions, partitions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.pipeline.polled import Message

MAX_BYTES: Final = 16 * 1024 * 1024
"""Of values that wait for one lane; then its partitions are paused."""

_MIN_FULL_RECORDS: Final = 20_000
_MIN_HUNGRY_RECORDS: Final = 64


class Doorbell:
    """The polling thread waits, lanes ring. A ring between two waits is not lost."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ring(self) -> None:
        self._event.set()

    def wait(self, timeout_s: float) -> None:
        """Until it rang since the last wait, at the latest after ``timeout_s``."""
        self._event.wait(timeout_s)
        self._event.clear()


@dataclass(frozen=True, slots=True)
class Taken:
    """What a lane found: ``news`` first; ``messages`` only when there are none."""

    news: tuple[str, ...] = ()
    messages: Sequence[Message] = ()


class Intake:
    """A bounded mailbox between two threads.

    Nothing refuses a message: a list that librdkafka handed over has to go somewhere. Instead the polling thread looks
    at ``is_full`` and pauses. So at most one such list is here beyond the limits, of ``4 * batch_records`` messages
    (at least 20,000) and 16 MiB.
    """

    def __init__(self, *, batch_records: int, doorbell: Doorbell) -> None:
        self._full_records = max(4 * batch_records, _MIN_FULL_RECORDS)
        self._hungry_records = max(batch_records, _MIN_HUNGRY_RECORDS)
        self._doorbell = doorbell
        self._changed = threading.Condition()
        self._waiting: list[Message] = []
        self._taken = 0  # of ``_waiting``: it is cut when half of it is gone
        self._bytes = 0
        self._news: list[str] = []
        self._wanted = 1
        self._closed = False

    # -- the polling thread

    @property
    def count(self) -> int:
        return len(self._waiting) - self._taken

    @property
    def is_full(self) -> bool:
        return self.count >= self._full_records or self._bytes >= MAX_BYTES

    @property
    def is_low(self) -> bool:
        """Whether paused partitions are to go on."""
        return self.count <= self._full_records // 2 and self._bytes <= MAX_BYTES // 2

    @property
    def is_hungry(self) -> bool:
        """Whether the lane's next batch is not here yet."""
        return self.count < self._hungry_records and self._bytes < MAX_BYTES

    def put(self, messages: Sequence[Message]) -> None:
        size = sum(map(len, messages))  # type: ignore[arg-type]  # of the values; a loop in C
        with self._changed:
            if self._closed:
                return
            self._waiting.extend(messages)
            self._bytes += size
            if self.count >= self._wanted or self.is_full:
                self._changed.notify()

    def announce(self, how: str) -> None:
        """A change of the assignment: the messages that wait belong to the one before."""
        with self._changed:
            self._forget()
            self._news.append(how)
            self._changed.notify()

    def drop(self) -> None:
        """Forget the messages: the positions went back."""
        with self._changed:
            self._forget()

    def close(self) -> None:
        """Nothing more will come: the lane ends after the batch that it has."""
        with self._changed:
            self._closed = True
            self._forget()
            self._changed.notify()

    # -- the lane's thread

    @property
    def is_closed(self) -> bool:
        return self._closed

    def news(self) -> tuple[str, ...]:
        """The changes announced since the last call."""
        if not self._news:
            return ()
        with self._changed:
            news, self._news = tuple(self._news), []
        return news

    def take(self, limit: int, wait_s: float) -> Taken:
        """Up to ``limit`` messages; waits for them for ``wait_s``, and for the first of them no longer either."""
        with self._changed:
            self._wanted = limit
            deadline = time.monotonic() + wait_s
            while self.count < limit and not self._news and not self._closed and not self.is_full:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            if self._news:
                news, self._news = tuple(self._news), []
                return Taken(news)
            messages = self._cut(limit)
            hungry = self.is_hungry
        if hungry:
            self._doorbell.ring()
        return Taken((), messages)

    def _cut(self, limit: int) -> list[Message]:
        start, end = self._taken, min(self._taken + limit, len(self._waiting))
        messages = self._waiting[start:end]
        self._taken = end
        if 2 * end >= len(self._waiting):
            del self._waiting[:end]
            self._taken = 0
        self._bytes = self._bytes - sum(map(len, messages)) if self.count else 0  # type: ignore[arg-type]
        return messages

    def _forget(self) -> None:
        self._waiting.clear()
        self._taken = self._bytes = 0
