"""How the C library's allocator keeps memory that was given back.

Owns: its two thresholds, for a process that is a broker and nothing else. Must not know: who allocates.

By default glibc returns a freed buffer of a megabyte to the kernel at once, and the next one costs a page fault for
each of its pages: half of the processor time of large requests and answers.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import Final

KEPT_BYTES: Final = 32 * 1024 * 1024
"""So much may lie free at the end of the heap before it goes back to the kernel."""
LARGEST_KEPT_BYTES: Final = 16 * 1024 * 1024
"""What is larger than this is a mapping of its own, and goes back when it is freed."""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> None:
    """Let freed buffers be used again. Without effect where the C library has no ``mallopt``, or one that does nothing.

    Source: ``mallopt(3)``.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
