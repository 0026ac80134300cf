"""A member of a consumer group over librdkafka.

Owns: ``GroupConsumer`` and the port it tells rebalances through. Must not know: the cycle, user code, policies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import confluent_kafka
import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tallystick.errors import ConfigurationError, FatalError, FencedError, RetriableError
from tallystick.pipeline.error_classes import (
    ALL_BROKERS_DOWN,
    AUTO_OFFSET_RESET,
    FATAL,
    FENCED_INSTANCE_ID,
    GONE,
    MAX_POLL_EXCEEDED,
    PARTITION_EOF,
    STALE_MEMBER_EPOCH,
    Failure,
    Operation,
    classify,
)
from tallystick.pipeline.kafka_client.failures import REQUEST_TIMEOUT_S, MemberFenced, failure_of, translate
from tallystick.pipeline.kafka_client.logs import client_logger
from tallystick.pipeline.kafka_client.membership import Membership
from tallystick.pipeline.kafka_client.partitions import Partition, positions, stored
from tallystick.pipeline.observation.lag import Fetched, fetched
from tallystick.pipeline.polled import Message
from tallystick.pipeline.settings import CONSUMER_PROTOCOL, COOPERATIVE
from tallystick.pipeline.starts import StoredOffset

log = structlog.get_logger(__name__)


class RebalanceListener(Protocol):
    """Told about the assignment, inside ``poll``, in the polling thread.

    Each call names what comes or goes: everything, unless the assignor is cooperative. Then ``assigned`` may name none.
    """

    def assigned(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """The offset to start each of these partitions at."""
        ...

    def revoked(self, partitions: Sequence[Partition]) -> None: ...

    def lost(self, partitions: Sequence[Partition]) -> None: ...


class GroupConsumer:
    """A member of a consumer group, with explicit positions only."""

    epochs_move = False
    """Whether the member's epoch goes up while it keeps its partitions, and nothing is said of it (KIP-848)."""

    misses_topics = False
    """Whether the client could not find a topic since this was last set to False. At times it is wrong about that."""

    def __init__(self, settings: Mapping[str, Any], listener: RebalanceListener, *, begin_paused: bool = False) -> None:
        """``begin_paused``: nothing is fetched of a partition that is assigned until ``resume`` names it."""
        self._listener = listener
        self._begin_paused = begin_paused
        self._group = str(settings["group.id"])
        self.epochs_move = settings.get("group.protocol") == CONSUMER_PROTOCOL
        self._cooperative = self.epochs_move or settings.get("partition.assignment.strategy") == COOPERATIVE
        self._raised: BaseException | None = None
        self.fetched: Mapping[Partition, Fetched] = {}
        """What the client last said of its partitions; replaced as a whole, and read by any thread."""
        self._consumer = confluent_kafka.Consumer(
            {**settings, "error_cb": self._on_error, "stats_cb": self._on_statistics},
            logger=client_logger(self._group, lambda _facility, _text: None),
        )

    def subscribe(self, topics: Sequence[str]) -> None:
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, max_records: int, timeout_ms: int) -> list[Message]:
        """Up to ``max_records`` messages; serves rebalances, and raises what their listener or the group raised."""
        messages = self._consume(max_records, timeout_ms)
        self._raise_pending()
        return self._without_errors(messages)

    def poll_available(self, max_records: int, timeout_ms: int) -> list[Message]:
        """As ``poll``, but waits for one message only: then it takes what else is here."""
        messages = self._consume(1, timeout_ms)
        if messages and max_records > 1:
            messages += self._consume(max_records - 1, 0)
        self._raise_pending()
        return self._without_errors(messages)

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, StoredOffset]:
        """Committed offsets, stable ones only; waits while a transaction holds one back (rule 3)."""
        asked = [TopicPartition(topic, partition) for topic, partition in partitions]
        if not asked:
            return {}
        try:
            answered = self._consumer.committed(asked, timeout=REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise self._told(error, Operation.COMMITTED, self._group) from error
        self._raise_first_error(answered, Operation.COMMITTED)
        return {(one.topic, one.partition): stored(one) for one in answered}

    def earliest(self, partition: Partition) -> int:
        """The log start offset of a partition."""
        try:
            watermarks = self._consumer.get_watermark_offsets(TopicPartition(*partition), timeout=REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise translate(error, Operation.LOOK_UP, f"{partition[0]}-{partition[1]}") from error
        if watermarks is None:
            raise RetriableError(f"no answer about the start of {partition[0]}-{partition[1]}")
        return int(watermarks[0])

    def commit(self, offsets: Mapping[Partition, int], notes: Mapping[str, str]) -> None:
        """Commit outside a transaction, as a member of the group; waits for the answer."""
        try:
            answered = self._consumer.commit(offsets=positions(offsets, notes), asynchronous=False)
        except KafkaException as error:
            raise self._told(error, Operation.COMMIT_OFFSETS, self._group) from error
        self._raise_first_error(answered or [], Operation.COMMIT_OFFSETS)

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Go to these offsets; what was fetched before is dropped."""
        for (topic, partition), offset in offsets.items():
            try:
                self._consumer.seek(TopicPartition(topic, partition, offset))
            except KafkaException as error:
                # _STATE: the partition is assigned and its fetcher has not started yet. It starts in a moment.
                if failure_of(error.args[0]).name == "_STATE":
                    raise RetriableError(f"seek of {topic}-{partition}: not fetching yet") from error
                raise translate(error, Operation.SEEK, f"{topic}-{partition}") from error

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Fetch no more of these; what librdkafka has of them is dropped, and fetched again after ``resume``."""
        self._for_each(partitions, self._consumer.pause)

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._for_each(partitions, self._consumer.resume)

    def membership(self) -> Membership:
        """The group metadata as of now. librdkafka is waited for with Python's lock held (see ``errands``)."""
        return Membership.parse(self._consumer.consumer_group_metadata())

    def close(self) -> None:
        """Leave; a static member keeps its place in the group until its session expires."""
        self._consumer.close()
        self._raise_pending()

    def _consume(self, max_records: int, timeout_ms: int) -> list[Any]:
        try:
            consumed: list[Any] = self._consumer.consume(max_records, timeout_ms / 1000)
        except KafkaException as error:
            raise translate(error, Operation.CONSUME, self._group) from error
        return consumed

    def _for_each(self, partitions: Iterable[Partition], call: Callable[[list[TopicPartition]], Any]) -> None:
        asked = [TopicPartition(topic, partition) for topic, partition in partitions]
        if not asked:
            return
        try:
            call(asked)
        except KafkaException as error:
            raise translate(error, Operation.SEEK, self._group) from error

    def _raise_pending(self) -> None:
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised

    def _raise_first_error(self, answered: Iterable[Any], operation: Operation) -> None:
        for one in answered:
            if one.error is not None:
                subject = f"{self._group}, {one.topic}-{one.partition}"
                raise self._told(KafkaException(one.error), operation, subject)

    def _told(self, error: KafkaException, operation: Operation, subject: str) -> Exception:
        """Under a moving epoch "stale" says no more than that librdkafka has not heard of the newest: ask again."""
        found = translate(error, operation, subject)
        stale = self.epochs_move and failure_of(error.args[0]).code == STALE_MEMBER_EPOCH
        return RetriableError(str(found)) if stale else found

    def _without_errors(self, messages: list[Any]) -> list[Message]:
        if all(message.error() is None for message in messages):
            return messages
        good: list[Message] = []
        for message in messages:
            error = message.error()
            if error is None:
                good.append(message)
                continue
            failure = failure_of(error)
            place = f"{message.topic()}-{message.partition()}"
            if failure.code == AUTO_OFFSET_RESET:
                raise ConfigurationError(
                    f"the offset of group {self._group!r} in {place} is out of range: {failure.text}",
                    rule=10,
                    remedy="Records were deleted before they were read: decide what to skip, set the offset by hand "
                    "(kafka-consumer-groups --reset-offsets), start again",
                )
            if failure.code in {PARTITION_EOF, MAX_POLL_EXCEEDED}:
                continue
            if failure.code == FATAL:
                raise self._fatal(failure)
            self.misses_topics |= failure.code in GONE
            kind = classify(failure, Operation.CONSUME)
            if failure.fatal or kind in {FencedError, ConfigurationError}:
                raise kind(f"consume of {place}: {failure.name}: {failure.text}")
            log.warning("consume", place=place, error=failure.name, text=failure.text)
        return good

    def _on_statistics(self, raw: str) -> None:
        self.fetched = fetched(raw)

    def _on_error(self, error: KafkaError) -> None:
        failure = failure_of(error)
        self.misses_topics |= failure.code in GONE
        kind = classify(failure, Operation.CONSUME)
        if failure.fatal or kind is FencedError:
            self._raised = self._raised or self._fatal(failure)
        elif failure.code == ALL_BROKERS_DOWN:
            log.info("consumer connection", group=self._group, text=failure.text)
        else:
            log.debug("consumer connection", group=self._group, error=failure.name, text=failure.text)

    def _fatal(self, failure: Failure) -> Exception:
        """A fatal error comes as a message whose code says no more than that; the text does."""
        if "instance ID is still used" in failure.text:
            return FatalError(
                f"group {self._group}: UNRELEASED_INSTANCE_ID: another member has this group.instance.id, or one that "
                "was killed had it and its session is not over: the consumer protocol waits for that (rule 7)"
            )
        fenced = failure.code == FENCED_INSTANCE_ID or "fenced by other consumer" in failure.text
        kind = MemberFenced if fenced else classify(failure, Operation.CONSUME)
        return kind(f"group {self._group}: {failure.name}: {failure.text}")

    # An exception that leaves a call-back reaches the poller as a SystemError without its cause: it is kept, and
    # raised by ``poll``.

    def _on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        try:
            starts = self._listener.assigned([(one.topic, one.partition) for one in partitions])
            assign = consumer.incremental_assign if self._cooperative else consumer.assign
            assign(positions(starts, {}))
            if self._begin_paused:
                self.pause(starts)
        except BaseException as error:  # noqa: BLE001
            self._raised = self._raised or error

    def _on_revoke(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self._gone(consumer, partitions, self._listener.revoked)

    def _on_lost(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self._gone(consumer, partitions, self._listener.lost)

    def _gone(
        self, consumer: Any, partitions: list[TopicPartition], tell: Callable[[Sequence[Partition]], None]
    ) -> None:
        try:
            tell([(one.topic, one.partition) for one in partitions])
            if self._cooperative:
                consumer.incremental_unassign(partitions)
            else:
                consumer.unassign()
        except BaseException as error:  # noqa: BLE001
            self._raised = self._raised or error
