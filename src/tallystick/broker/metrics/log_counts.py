"""How many events the process has logged, by level: errors are what somebody should look at.

Owns: the counts. Must not know: what is logged, and how.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping
from typing import Any, Final


class LogCounts:
    """A processor of structlog that lets every event pass."""

    def __init__(self) -> None:
        self.by_level: Counter[str] = Counter(warning=0, error=0, critical=0)

    def __call__(self, _: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        self.by_level["error" if method == "exception" else method] += 1
        return event


OF_THE_PROCESS: Final = LogCounts()
"""Like structlog's configuration, there is one of it in a process."""
