"""Where downloaded things are kept between runs.

Owns: the cache folder's place. Must not know: what is in it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

ENV_CACHE: Final = "TALLYSTICK_CACHE"
"""Environment variable that puts the cache folder elsewhere."""


def cache_folder() -> Path:
    """``$TALLYSTICK_CACHE``, else the platform's folder for caches (``~/.cache/tallystick`` on Linux)."""
    chosen = os.environ.get(ENV_CACHE)
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tallystick"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tallystick"
