"""The one thing that a copy must have and the original does not: producer ids that nobody got since.

Owns: the record at the journal's end. Must not know: how the copy was made.

The original gives out ids after the copy was taken. A broker on the copy would give the same ids to other producers,
and take one's records for duplicates of the other's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.journal_records import AnyJournalRecord
from tallystick.broker.log.durability import Durability
from tallystick.broker.log.journal import FileJournal
from tallystick.broker.ports import JournalRecord
from tallystick.broker.transactions.records import ProducerIdsReserved, TransactionState

SKIPPED: Final = 1_000_000_000
"""More ids than a broker gives out between a backup and its use; there are 2^63."""


def skip_producer_ids(journal_path: Path) -> None:
    """Reserve all ids that the original may give out."""
    journal: FileJournal[JournalRecord] = FileJournal(journal_path, AnyJournalRecord, Durability(FsyncPolicy.COMMIT))
    highest = 0
    for record in journal.replay():
        if isinstance(record, ProducerIdsReserved):
            highest = max(highest, record.next_producer_id)
        elif isinstance(record, TransactionState):
            highest = max(highest, record.producer_id, record.next_producer_id)
    journal.append(ProducerIdsReserved(next_producer_id=highest + SKIPPED))
    journal.sync_now()
    journal.close()
