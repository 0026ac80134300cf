"""Transactions whose markers Apache Kafka did not write, because a partition had no leader when they ended.

Its coordinator says so in its log and calls them complete (KAFKA-20734; ``docs/verify.md`` shows it). What is repeated
or lost then is no deed of the application, and a person who reads a verdict has to know.
Owns: reading that log. Must not know: what the verdict is.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_LINE: Final = re.compile(
    r"Couldn't find leader endpoint for partitions (?:Hash)?Set\((?P<partitions>[^)]*)\) "
    r"while trying to send transaction markers for (?P<transactional_id>\S+),"
)
_SHOWN_MAX: Final = 3


def log_size(log: Path | None) -> int:
    """Where the log ends now; 0 for none."""
    return log.stat().st_size if log is not None and log.exists() else 0


def skipped_markers(log: Path | None, *, since: int) -> tuple[str, ...]:
    """In words, what the log says behind the byte ``since``; nothing if no marker was skipped."""
    if log is None or not log.exists():
        return ()
    with log.open("rb") as file:
        file.seek(since)
        found = [
            f"{match['partitions']} of {match['transactional_id']}"
            for line in file
            if (match := _LINE.search(line.decode("utf-8", "replace"))) is not None
        ]
    if not found:
        return ()
    more = "" if len(found) <= _SHOWN_MAX else f", and {len(found) - _SHOWN_MAX} more"
    text = (
        f"Apache Kafka says in its log that it skipped markers of {len(found)} transactions, whose partitions had no "
        f"leader when they ended (KAFKA-20734): {'; '.join(found[:_SHOWN_MAX])}{more}. "
        "It may show what they aborted, and lose what they committed."
    )
    return (text,)
