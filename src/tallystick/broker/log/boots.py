"""Which start of the machine this is.

Owns: the machine's boot id. Must not know: what is concluded from it.

What was written since the machine started is whole, however its writer ended: the operating system has it. Only a crash
of the machine itself can take back what was not synced, and then the boot id is another one.
"""

from __future__ import annotations

import functools
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LINUX_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
UNKNOWN_BOOT: Final = bytes(16)


@functools.cache
def boot_id() -> bytes:
    """16 bytes that change when the machine starts. Where the system tells none, every start is a new machine."""
    try:
        return uuid.UUID(_LINUX_BOOT_ID.read_text().strip()).bytes
    except (OSError, ValueError):
        return uuid.uuid4().bytes


@dataclass(frozen=True, slots=True)
class Boots:
    """The boot that runs now, and the one in which the data folder was written last."""

    present: bytes
    previous: bytes

    @property
    def machine_restarted(self) -> bool:
        """Whether unsynced writes may be gone: the machine was restarted, or the folder was copied from another."""
        return self.present != self.previous

    @classmethod
    def same(cls) -> Boots:
        """For a folder that was written since the machine started."""
        return cls(present=boot_id(), previous=boot_id())
