"""What the topics journal holds.

Owns: the records, and what they add up to. Must not know: partitions, and how a change is made (``topics``).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from tallystick.broker.ports import JournalRecord


class TopicCreated(JournalRecord, frozen=True, tag="topic-created"):
    """A topic exists from here on."""

    name: str
    topic_id: uuid.UUID
    partition_count: int
    configs: dict[str, str]


class TopicGrown(JournalRecord, frozen=True, tag="topic-grown"):
    """A topic has this many partitions from here on."""

    topic_id: uuid.UUID
    partition_count: int


class TopicDeleted(JournalRecord, frozen=True, tag="topic-deleted"):
    """A topic is gone from here on; its id never comes back."""

    topic_id: uuid.UUID


class TopicConfigured(JournalRecord, frozen=True, tag="topic-configured"):
    """A topic has these settings of its own, and no others, from here on."""

    topic_id: uuid.UUID
    configs: dict[str, str]


TopicRecord = TopicCreated | TopicGrown | TopicDeleted | TopicConfigured


def declared_topics(records: Iterable[TopicRecord]) -> dict[uuid.UUID, TopicCreated]:
    """The topics that there are after these records, as if each was created just so. ``KeyError``: a record about a
    topic that there is not."""
    declared: dict[uuid.UUID, TopicCreated] = {}
    for record in records:
        match record:
            case TopicCreated():
                declared[record.topic_id] = record
            case TopicGrown():
                made = declared[record.topic_id]
                declared[record.topic_id] = TopicCreated(made.name, made.topic_id, record.partition_count, made.configs)
            case TopicConfigured():
                made = declared[record.topic_id]
                declared[record.topic_id] = TopicCreated(made.name, made.topic_id, made.partition_count, record.configs)
            case TopicDeleted():
                del declared[record.topic_id]
    return declared
