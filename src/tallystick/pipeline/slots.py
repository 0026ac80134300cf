"""One worker per slot on this machine, by a file lock.

Owns: ``SlotLock``. Must not know: what runs in the slot. Over several machines the operator gives each worker its own
slot name; Kafka's fencing is the authority either way (rule 5).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from tallystick.errors import ConfigurationError


class SlotLock:
    """Holds ``{slot}.lock`` in a folder. The lock ends when the last process that inherited ``descriptor`` does."""

    def __init__(self, folder: Path, slot: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{slot}.lock"
        self._slot = slot
        self.descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self.descriptor)
            raise ConfigurationError(
                f"slot {slot!r} is taken by a live worker ({self._path})",
                rule=5,
                remedy="Stop that one, or choose another --slot-prefix",
            ) from None

    def release(self) -> None:
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
