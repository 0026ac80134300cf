"""Topics as the group coordinator sees them, in memory."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from tallystick.broker.ports import TopicShape


class Catalog:
    """``Catalog(a=4)`` has one topic, ``a``, with four partitions. The id of a topic follows from its name."""

    def __init__(self, **partition_counts: int) -> None:
        self.version = 1
        self._shapes: dict[str, TopicShape] = {}
        for name, count in partition_counts.items():
            self.make(name, count)

    def make(self, name: str, partition_count: int, *, topic_id: uuid.UUID | None = None) -> None:
        """Make a topic, or grow it, or make another under its name."""
        self._shapes[name] = TopicShape(name, topic_id or topic_id_of(name), partition_count)
        self.version += 1

    def delete(self, name: str) -> None:
        del self._shapes[name]
        self.version += 1

    def names(self) -> Iterable[str]:
        return self._shapes.keys()

    def shape(self, topic: str) -> TopicShape | None:
        return self._shapes.get(topic)

    def name_of(self, topic_id: uuid.UUID) -> str | None:
        return next((shape.name for shape in self._shapes.values() if shape.topic_id == topic_id), None)


def topic_id_of(name: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, name)
