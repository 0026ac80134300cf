"""What the topics journal holds.

Owns: the records. Must not know: how they are applied (``topics``).
"""

from __future__ import annotations

import uuid

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
