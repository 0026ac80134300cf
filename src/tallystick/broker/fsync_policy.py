"""The names of the fsync policies, apart from what implements them, so that callers import little."""

from __future__ import annotations

import enum


class FsyncPolicy(enum.StrEnum):
    """When acknowledged bytes are forced to the disk. ``kill -9`` loses nothing under any of them.

    ``NEVER``: the operating system decides; ``INTERVAL``: every second; ``COMMIT``: before the acknowledgement.
    """

    NEVER = "never"
    INTERVAL = "interval"
    COMMIT = "commit"
