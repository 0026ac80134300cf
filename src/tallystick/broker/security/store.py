"""Everything about users and rights that the data folder keeps, in a journal of its own.

Owns: ``security.journal``: replay, appending, compaction. Must not know: the protocol, sockets.

A file of its own, readable by the broker's user only: what is in it interests an attacker, and a command can change it
while no broker runs.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import structlog

from tallystick.broker.log.durability import Durability
from tallystick.broker.log.state_journal import StateJournal
from tallystick.broker.log.torn_tail import TornTail
from tallystick.broker.security.acls import Acls
from tallystick.broker.security.credentials import Credentials
from tallystick.broker.security.records import DecoyKeySet, SecurityRecord

logger = structlog.get_logger(__name__)

COMPACT_ABOVE_BYTES: Final = 1024 * 1024


class SecurityStore:
    """Credentials and access control lists, recovered when it is made."""

    def __init__(self, path: Path, durability: Durability, *, plain_users: Mapping[str, str] | None = None) -> None:
        self.credentials = Credentials(plain_users)
        self.acls = Acls()
        self._decoy_key: bytes | None = None
        _close_to_others(path)
        self._journal: StateJournal[SecurityRecord] = StateJournal(
            path,
            SecurityRecord,
            durability,
            name="the security journal",
            compact_above_bytes=COMPACT_ABOVE_BYTES,
            apply=self._apply,
            snapshot=self._snapshot,
        )
        self._journal.recover()

    @property
    def torn(self) -> TornTail | None:
        """What start-up cut off the journal."""
        return self._journal.torn

    def _apply(self, record: SecurityRecord) -> None:
        if isinstance(record, DecoyKeySet):
            self._decoy_key = record.key
        self.credentials.apply(record)
        self.acls.apply(record)

    def _snapshot(self) -> Iterable[SecurityRecord]:
        if self._decoy_key is not None:
            yield DecoyKeySet(key=self._decoy_key)
        yield from self.credentials.snapshot()
        yield from self.acls.snapshot()

    def decoy_key(self, fresh: bytes) -> bytes:
        """The key that is kept for decoys: ``fresh`` becomes it if there is none yet."""
        if self._decoy_key is None:
            self.commit([DecoyKeySet(key=fresh)])
        return self._decoy_key or fresh

    def commit(self, records: Iterable[SecurityRecord]) -> None:
        """Write the records and then apply them; ``ApiError`` if the disk refuses one, which is then not applied."""
        for record in records:
            self._journal.commit(record)
        self._journal.compact()

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


def _close_to_others(path: Path) -> None:
    """A copy, or a restored backup, may have come with everybody's rights."""
    with contextlib.suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            logger.warning("others could read the security journal; only its owner can now", file=str(path))
            path.chmod(0o600)
