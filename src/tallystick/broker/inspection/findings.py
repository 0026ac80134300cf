"""What a check found.

Owns: findings, their severities, the counts of what was looked at. Must not know: how it is found, how it is shown.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path


class Severity(enum.StrEnum):
    """What follows from a finding."""

    DAMAGE = "damage"
    """Something that was acknowledged is gone or wrong."""
    MENDED = "mended"
    """Nothing is lost: what a killed process or power loss leaves behind, and the next start puts in order."""
    NOTE = "note"
    """Worth knowing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``position`` is the byte in the file, ``offset`` the record's; -1 where there is none."""

    severity: Severity
    file: str
    text: str
    position: int = -1
    offset: int = -1


@dataclass(slots=True)
class Report:
    """Everything that a check looked at and found. Files are named relative to the folder."""

    folder: Path
    format_version: int = 0
    ended_in_order: bool = False
    topics: int = 0
    partitions: int = 0
    segments: int = 0
    batches: int = 0
    log_bytes: int = 0
    index_rows: int = 0
    snapshots: int = 0
    producers: int = 0
    aborted_transactions: int = 0
    journal_records: int = 0
    transactional_ids: int = 0
    open_transactions: int = 0
    groups: int = 0
    committed_offsets: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_damaged(self) -> bool:
        return any(finding.severity is Severity.DAMAGE for finding in self.findings)

    def add(self, severity: Severity, file: Path, text: str, *, position: int = -1, offset: int = -1) -> None:
        name = str(file.relative_to(self.folder)) if file.is_relative_to(self.folder) else str(file)
        self.findings.append(Finding(severity, name, text, position, offset))

    def damage(self, file: Path, text: str, *, position: int = -1, offset: int = -1) -> None:
        self.add(Severity.DAMAGE, file, text, position=position, offset=offset)

    def mended(self, file: Path, text: str, *, position: int = -1, offset: int = -1) -> None:
        self.add(Severity.MENDED, file, text, position=position, offset=offset)
