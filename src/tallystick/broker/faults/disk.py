"""A disk that is full for a while.

Owns: how many appends fail still. Must not know: logs and journals; ``Durability.before_write`` asks before each.
"""

from __future__ import annotations

import errno
import math
import os


class FaultyDisk:
    """``before_write`` is for ``Durability.before_write``."""

    def __init__(self) -> None:
        self._failing: float = 0

    @property
    def is_full(self) -> bool:
        return self._failing > 0

    def fill(self, appends: int | None) -> None:
        """Fail the next ``appends``; None: until ``free``."""
        self._failing = math.inf if appends is None else appends

    def free(self) -> None:
        self._failing = 0

    def before_write(self, size_bytes: int) -> None:  # noqa: ARG002 - the port's signature
        """``OSError`` with ENOSPC while the disk is full."""
        if self._failing > 0:
            self._failing -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
