"""The records of one journal.

Owns: what is torn and what is damage in it. Must not know: what the records mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tallystick.broker.inspection.findings import Report
from tallystick.broker.log.journal import JournalDamage, read_journal


def records_in(path: Path, record_type: Any, report: Report, *, is_optional: bool = False) -> Iterator[Any]:
    """Every record that can be read; what cannot is reported."""
    if not path.exists():
        if not is_optional:
            report.damage(path, "the journal is not there")
        return
    try:
        for found in read_journal(path, record_type):
            if not isinstance(found, JournalDamage):
                yield found[1]
            elif found.next_frame is None:
                report.mended(path, "a torn write, which the next start cuts off", position=found.position)
            else:
                text = f"a record is lost: {found.reason}; the next whole one is at byte {found.next_frame}"
                report.damage(path, text, position=found.position)
    except OSError as error:
        report.damage(path, f"it cannot be read: {error.strerror}")
