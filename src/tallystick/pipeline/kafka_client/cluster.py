"""Questions to the cluster that belong to no group member and no transaction.

Owns: ``Cluster``. Must not know: the cycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import confluent_kafka
import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from confluent_kafka.cimpl import NewTopic

from tallystick.errors import RetriableError
from tallystick.pipeline.error_classes import Operation
from tallystick.pipeline.kafka_client.failures import REQUEST_TIMEOUT_S, failure_of, translate
from tallystick.pipeline.kafka_client.logs import client_logger
from tallystick.pipeline.kafka_client.partitions import Partition, stored
from tallystick.pipeline.starts import StoredOffset, TopicFacts

log = structlog.get_logger(__name__)

_TOPIC_ALREADY_EXISTS: Final = 36
_SESSION_TIMEOUT: Final = "consumer.session.timeout.ms"


class Cluster:
    """Questions to the cluster that belong to no group and no transaction. May be shared by threads.

    Each question is asked by a client of its own: they are rare, and an admin client that lived through a restart of
    its broker answers nothing but time-outs at times (librdkafka 2.16).
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """``settings``: ``bootstrap.servers`` and what security needs."""
        self._settings: dict[str, Any] = {**settings, "error_cb": lambda _error: None}

    def cluster_id(self) -> str:
        admin = self._admin()
        return str(_answer(admin.describe_cluster(request_timeout=REQUEST_TIMEOUT_S), "cluster").cluster_id)

    def topics(self, names: Iterable[str]) -> dict[str, TopicFacts]:
        """Id and partition count of each topic that exists."""
        admin = self._admin()
        wanted = confluent_kafka.TopicCollection(list(names))
        found = {}
        for name, future in admin.describe_topics(wanted, request_timeout=REQUEST_TIMEOUT_S).items():
            try:
                described = future.result()
            except KafkaException as error:
                if failure_of(error.args[0]).name == "UNKNOWN_TOPIC_OR_PART":
                    continue
                raise translate(error, Operation.LOOK_UP, name) from error
            found[name] = TopicFacts(str(described.topic_id), len(described.partitions))
        return found

    def topics_when_present(self, names: Iterable[str]) -> dict[str, TopicFacts]:
        """As ``topics``; ``RetriableError`` while one of them is not known everywhere yet."""
        wanted = set(names)
        found = self.topics(wanted)
        if wanted - found.keys():
            raise RetriableError(f"topics {sorted(wanted - found.keys())} are not there yet")
        return found

    def create_topics(self, topics: Mapping[str, int | None], settings: Mapping[str, str] | None = None) -> None:
        """Create the topics, with the broker's default number of partitions for None; existing ones are left."""
        if not topics:
            return
        admin = self._admin()
        given = dict(settings or {})
        wanted = [
            NewTopic(name, num_partitions=count or -1, replication_factor=-1, config=given)
            for name, count in topics.items()
        ]
        for name, future in admin.create_topics(wanted, request_timeout=REQUEST_TIMEOUT_S).items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != _TOPIC_ALREADY_EXISTS:
                    raise translate(error, Operation.LOOK_UP, name) from error

    def topic_settings(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """The settings of each topic, all of which exist."""
        admin = self._admin()
        asked = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        found = {}
        for resource, future in admin.describe_configs(asked, request_timeout=REQUEST_TIMEOUT_S).items():
            entries = _answer(future, resource.name)
            found[resource.name] = {name: str(entry.value) for name, entry in entries.items()}
        return found

    def session_timeout_ms(self, group: str) -> int | None:
        """How long a group's members of the consumer protocol may be silent; None if the cluster doesn't tell us.

        It needs the right to describe the group's settings, and a broker that has them.
        """
        admin = self._admin()
        asked = ConfigResource(ResourceType.GROUP, group)
        (future,) = admin.describe_configs([asked], request_timeout=REQUEST_TIMEOUT_S).values()
        try:
            told = future.result().get(_SESSION_TIMEOUT)
        except KafkaException as error:
            translated = translate(error, Operation.LOOK_UP, group)
            if isinstance(translated, RetriableError):
                raise translated from error
            log.info("settings of a group are not told", group=group, why=str(translated))
            return None
        return None if told is None else int(told.value)

    def bounds(self, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
        """Log start and high watermark of each partition; open transactions lie below the latter."""
        # An admin client that is new stands still for three seconds in list_offsets, now and then (librdkafka 2.16).
        settings = {**self._settings, "group.id": "tallystick.bounds", "isolation.level": "read_uncommitted"}
        asker = confluent_kafka.Consumer(settings, logger=client_logger("bounds", lambda _facility, _text: None))
        try:
            return {place: self._bounds(asker, place) for place in partitions}
        finally:
            asker.close()

    def _bounds(self, asker: confluent_kafka.Consumer, place: Partition) -> tuple[int, int]:
        try:
            found = asker.get_watermark_offsets(TopicPartition(*place), timeout=REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise translate(error, Operation.LOOK_UP, f"{place[0]}-{place[1]}") from error
        if found is None:
            raise RetriableError(f"no answer about the ends of {place[0]}-{place[1]}")
        return int(found[0]), int(found[1])

    def offsets_at(self, partitions: Iterable[Partition], time_ms: int) -> dict[Partition, int]:
        """The first offset of each partition whose record is of this time or later; absent if there is none."""
        asked = [TopicPartition(topic, partition, time_ms) for topic, partition in partitions]
        settings = {**self._settings, "group.id": "tallystick.bounds", "isolation.level": "read_uncommitted"}
        asker = confluent_kafka.Consumer(settings, logger=client_logger("bounds", lambda _facility, _text: None))
        try:
            answered = asker.offsets_for_times(asked, timeout=REQUEST_TIMEOUT_S) if asked else []
        except KafkaException as error:
            raise translate(error, Operation.LOOK_UP, "offsets by time") from error
        finally:
            asker.close()
        for one in answered:
            if one.error is not None:
                raise translate(KafkaException(one.error), Operation.LOOK_UP, f"{one.topic}-{one.partition}")
        return {(one.topic, one.partition): one.offset for one in answered if one.offset >= 0}

    def group_offsets(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, StoredOffset]:
        """Committed offsets as they are, without waiting for transactions that hold newer ones back.

        A consumer that joins nothing asks. An admin client must not: when the coordinator has moved, its answer ends
        the process with a segmentation fault (librdkafka#5040, still in 2.16.1).
        """
        asked = [TopicPartition(topic, partition) for topic, partition in partitions]
        if not asked:
            return {}
        settings = {**self._settings, "group.id": group, "isolation.level": "read_uncommitted"}
        settings |= {"enable.auto.commit": False}
        consumer = Consumer(settings, logger=client_logger("offsets", lambda _facility, _text: None))
        try:
            answered = consumer.committed(asked, timeout=REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise translate(error, Operation.LOOK_UP, group) from error
        finally:
            consumer.close()
        return {(one.topic, one.partition): stored(one) for one in answered if one.error is None}

    def instance_holders(self, group: str) -> dict[str, str]:
        """Static members of a group: ``group.instance.id`` to member id."""
        return {one.group_instance_id: one.member_id for one in self._static_members(group)}

    def instance_clients(self, group: str) -> dict[str, str]:
        """Static members of a group: ``group.instance.id`` to ``client.id``."""
        return {one.group_instance_id: one.client_id for one in self._static_members(group)}

    def _static_members(self, group: str) -> list[Any]:
        admin = self._admin()
        future = admin.describe_consumer_groups([group], request_timeout=REQUEST_TIMEOUT_S)[group]
        members = _answer(future, group).members
        return [one for one in members if one.group_instance_id]

    def _admin(self) -> AdminClient:
        """A client; the caller holds it until the answer is there."""
        return AdminClient(self._settings, logger=client_logger("admin", lambda _facility, _text: None))


def _answer(future: Any, subject: str) -> Any:
    try:
        return future.result()
    except KafkaException as error:
        raise translate(error, Operation.LOOK_UP, subject) from error
