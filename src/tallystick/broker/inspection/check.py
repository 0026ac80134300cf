"""A whole data folder: format, journals, every partition, and whether they tell the same story.

Owns: the order, and the comparisons between files. Must not know: how one file is verified.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from tallystick.broker.dynamic_configs import BrokerConfigured
from tallystick.broker.inspection.coordinators import check_coordinators
from tallystick.broker.inspection.findings import Report, Severity
from tallystick.broker.inspection.journals import records_in
from tallystick.broker.inspection.partitions import OnBytes, PartitionCheck
from tallystick.broker.journal_records import AnyJournalRecord
from tallystick.broker.log.compaction_point import FILE as COMPACTED_FILE
from tallystick.broker.log.data_folder import LookedAt, looked_at
from tallystick.broker.security.records import SecurityRecord
from tallystick.broker.topic_records import TopicCreated, TopicRecord, declared_topics


def _nobody(_: int) -> None:
    """Nobody looks at a progress bar."""


def check_folder(path: Path, *, on_total: Callable[[int], None] = _nobody, on_bytes: OnBytes = _nobody) -> Report:
    """Verify everything and change nothing. ``on_total`` is told the bytes of all logs, ``on_bytes`` each step.

    ``ConfigurationError``: a broker runs on the folder, or it is none; ``CorruptData``: not even its format can be
    read.
    """
    with looked_at(path) as folder:
        return _check(folder, on_total, on_bytes)


def _check(folder: LookedAt, on_total: Callable[[int], None], on_bytes: OnBytes) -> Report:
    report = Report(folder.path, format_version=folder.format.format_version, ended_in_order=folder.was_clean)
    on_total(sum(file.stat().st_size for file in folder.path.glob("topics/*/*/*.log")))
    declared = _topics(folder.path, report)
    partitions: dict[tuple[str, int], PartitionCheck] = {}
    for topic in declared.values():
        report.topics += 1
        for index in range(topic.partition_count):
            report.partitions += 1
            place = folder.path / "topics" / topic.topic_id.hex / str(index)
            if not place.is_dir():
                report.mended(place, f"the folder of {topic.name}-{index} is not there: the next start makes it, empty")
                continue
            gaps = (place / COMPACTED_FILE).exists()
            checked = PartitionCheck(place, f"{topic.name}-{index}", report, folder.boots, on_bytes, gaps=gaps)
            checked.run()
            partitions[topic.name, index] = checked
    _strangers(folder.path, declared, report)
    for name, record_type in (("security.journal", SecurityRecord), ("configs.journal", BrokerConfigured)):
        for _ in records_in(folder.path / name, record_type, report, is_optional=True):
            report.journal_records += 1
    records = list(records_in(folder.path / "coordinators.journal", AnyJournalRecord, report))
    report.journal_records += len(records)
    check_coordinators(folder.path / "coordinators.journal", records, partitions, report)
    return report


def _topics(path: Path, report: Report) -> dict[uuid.UUID, TopicCreated]:
    file = path / "topics.journal"
    records: list[TopicRecord] = list(records_in(file, TopicRecord, report))
    report.journal_records += len(records)
    try:
        return declared_topics(records)
    except KeyError as missing:
        report.damage(file, f"a record is about topic {missing.args[0]}, which no record creates")
        return declared_topics(record for record in records if isinstance(record, TopicCreated))


def _strangers(path: Path, declared: dict[uuid.UUID, TopicCreated], report: Report) -> None:
    topics = path / "topics"
    known = {topic_id.hex for topic_id in declared}
    for folder in sorted(topics.iterdir()) if topics.is_dir() else ():
        if folder.name not in known:
            report.add(Severity.NOTE, folder, "the folder of a deleted topic: the next start removes it")
