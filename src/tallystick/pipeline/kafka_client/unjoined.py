"""A group that nobody joins: a place for one position that commits with a transaction.

Owns: ``UnjoinedGroup``. Must not know: what the position means. The group's coordinator checks nothing here (rule 2):
whoever uses it is fenced by the transactional id alone, so that there must be one id for each group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tallystick.pipeline.error_classes import Operation
from tallystick.pipeline.kafka_client.failures import REQUEST_TIMEOUT_S, translate
from tallystick.pipeline.kafka_client.logs import client_logger
from tallystick.pipeline.kafka_client.membership import GroupMetadata
from tallystick.pipeline.kafka_client.partitions import Partition, stored


class UnjoinedGroup:
    def __init__(self, settings: Mapping[str, Any], group: str) -> None:
        self._group = group
        self._consumer = Consumer(
            {
                **settings,
                "group.id": group,
                "enable.auto.commit": False,
                "isolation.level": "read_committed",  # or pending positions are told as if they were settled (rule 3)
            },
            logger=client_logger(group, lambda _facility, _text: None),
        )

    def metadata(self) -> GroupMetadata:
        """What a producer needs to commit a position of the group."""
        return GroupMetadata(self._consumer.consumer_group_metadata())

    def note(self, partition: Partition) -> str | None:
        """The note beside the position that the last committed transaction left; None or "" if there is none."""
        try:
            (answered,) = self._consumer.committed([TopicPartition(*partition)], timeout=REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise translate(error, Operation.COMMITTED, self._group) from error
        if answered.error is not None:
            raise translate(KafkaException(answered.error), Operation.COMMITTED, self._group)
        return stored(answered).metadata

    def close(self) -> None:
        self._consumer.close()
