"""A disk that is full, or slow, for a while.

Owns: how many appends fail still, and how long each one takes. Must not know: logs and journals;
``Durability.before_write`` asks before each.
"""

from __future__ import annotations

import errno
import math
import os
import time


class FaultyDisk:
    """``before_write`` is for ``Durability.before_write``."""

    def __init__(self) -> None:
        self._failing: float = 0
        self._slower_by_s: float = 0

    @property
    def is_full(self) -> bool:
        return self._failing > 0

    def fill(self, appends: int | None) -> None:
        """Fail the next ``appends``; None: until ``free``."""
        self._failing = math.inf if appends is None else appends

    def slow(self, ms: float) -> None:
        """Each append takes ``ms`` longer, until ``free``."""
        self._slower_by_s = ms / 1000

    def free(self) -> None:
        self._failing = 0
        self._slower_by_s = 0

    def before_write(self, size_bytes: int) -> None:  # noqa: ARG002 - the port's signature
        """``OSError`` with ENOSPC while the disk is full; blocks its caller, the broker's loop, while it is slow."""
        if self._slower_by_s > 0:
            time.sleep(self._slower_by_s)
        if self._failing > 0:
            self._failing -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
