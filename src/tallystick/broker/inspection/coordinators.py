"""Transactions and groups as the journal tells them, against the logs.

Owns: the comparison. Must not know: how journal and logs are read.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tallystick.broker.groups.records import OffsetsCommitted, OffsetsPending
from tallystick.broker.groups.settings import GroupSettings
from tallystick.broker.groups.table import GroupTable
from tallystick.broker.inspection.findings import Report, Severity
from tallystick.broker.inspection.partitions import PartitionCheck
from tallystick.broker.ports import JournalRecord
from tallystick.broker.transactions import TransactionCoordinator
from tallystick.broker.transactions.records import TransactionState, TransactionStatus
from tallystick.clock import SystemClock
from tallystick.errors import IllegalTransition, TallystickError

Partitions = Mapping[tuple[str, int], PartitionCheck]

_DECIDED = (TransactionStatus.PREPARE_COMMIT, TransactionStatus.PREPARE_ABORT, TransactionStatus.PREPARE_EPOCH_FENCE)


class _NothingIsWritten:
    """Journal, partitions and groups for coordinators that only replay."""

    def append(self, record: JournalRecord) -> None:
        raise TallystickError(f"a check writes {record}")

    def take_back(self) -> None:
        raise TallystickError("a check takes a record back")

    def exists(self, topic: str, partition: int) -> bool:
        return bool(topic) and partition >= 0

    def topic_id(self, topic: str) -> uuid.UUID | None:
        return uuid.uuid5(uuid.NAMESPACE_OID, topic)

    def complete_transaction(self, group_id: str, producer_id: int, **_: Any) -> None:
        raise TallystickError(f"a check ends producer {producer_id}'s transaction in {group_id}")

    def append_marker(self, topic: str, partition: int, **_: Any) -> None:
        raise TallystickError(f"a check writes a marker to {topic}-{partition}")


def check_coordinators(journal: Path, records: Sequence[JournalRecord], partitions: Partitions, report: Report) -> None:
    """Replay the records as a start would, and compare what they add up to with the logs."""
    nothing = _NothingIsWritten()
    groups = GroupTable(nothing, SystemClock(), GroupSettings())
    transactions = TransactionCoordinator(nothing, nothing, SystemClock(), nothing)
    for number, record in enumerate(records):
        try:
            transactions.replay(record)
            groups.replay(record)
        except (IllegalTransition, KeyError) as error:
            report.damage(journal, f"record {number} cannot follow the ones before it: {error}")
    states = transactions.transactions()
    report.transactional_ids = len(states)
    _transactions(journal, states, partitions, report)
    _open_in_logs(states, partitions, report)
    _groups(journal, groups, states, partitions, report)


def _transactions(journal: Path, states: Sequence[TransactionState], partitions: Partitions, report: Report) -> None:
    for state in states:
        report.open_transactions += state.status is TransactionStatus.ONGOING
        if state.status in _DECIDED:
            text = (
                f"transactional id {state.transactional_id!r} is in {state.status.value}: the next start completes it"
            )
            report.mended(journal, text)
        for place in state.partitions:
            if place not in partitions and state.status is TransactionStatus.ONGOING:
                text = f"the open transaction of {state.transactional_id!r} has {place[0]}-{place[1]}, which is gone"
                report.add(Severity.NOTE, journal, text)


def _open_in_logs(states: Sequence[TransactionState], partitions: Partitions, report: Report) -> None:
    known = {
        (state.producer_id, place)
        for state in states
        if state.status is TransactionStatus.ONGOING or state.status in _DECIDED
        for place in state.partitions
    }
    for place, checked in partitions.items():
        for entry in checked.producers.producers.values():
            if entry.transaction_first_offset is not None and (entry.producer_id, place) not in known:
                report.mended(
                    checked.folder,
                    f"producer {entry.producer_id} has a transaction open that the journal does not know, as power "
                    "loss leaves it: the next start ends it or takes it up again",
                    offset=entry.transaction_first_offset,
                )


def _groups(
    journal: Path,
    groups: GroupTable,
    states: Sequence[TransactionState],
    partitions: Partitions,
    report: Report,
) -> None:
    report.groups = len(list(groups))
    open_producers = {state.producer_id for state in states if state.status is not TransactionStatus.EMPTY}
    for record in groups.snapshot():
        if isinstance(record, OffsetsCommitted):
            report.committed_offsets += len(record.offsets)
            for row in record.offsets:
                checked = partitions.get((row.topic, row.partition))
                if checked is None:
                    text = f"group {record.group_id!r} has an offset in {row.topic}-{row.partition}, which is gone"
                    report.add(Severity.NOTE, journal, text)
                elif row.offset > checked.end_offset:
                    text = (
                        f"group {record.group_id!r} has offset {row.offset} in {row.topic}-{row.partition}, which ends "
                        f"at {checked.end_offset}"
                    )
                    report.add(Severity.NOTE, journal, text)
        elif isinstance(record, OffsetsPending) and record.producer_id not in open_producers:
            text = f"group {record.group_id!r} waits for a transaction of producer {record.producer_id}, which has none"
            report.damage(journal, text)
