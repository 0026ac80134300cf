"""librdkafka behind typed values: the only module of the pipeline that imports ``confluent_kafka``.

Owns: ``GroupConsumer``, ``Producer`` and ``Cluster``, and the translation of each failure into one of the error
classes. Must not know: the cycle, user code, policies.

Thread rule: an object here is used by one thread only. librdkafka's own threads do the network; its call-backs run
inside ``poll`` and ``consume`` of the thread that calls them, so nothing here needs a lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NewType, Protocol

import confluent_kafka
import msgspec
import structlog
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tallystick.errors import AbortableError, ConfigurationError, FatalError, FencedError, RetriableError
from tallystick.ids import EVENT_ID_HEADER
from tallystick.pipeline.batch import Message
from tallystick.pipeline.error_classes import (
    ALL_BROKERS_DOWN,
    AUTO_OFFSET_RESET,
    MAX_POLL_EXCEEDED,
    PARTITION_EOF,
    Failure,
    Operation,
    classify,
    poisons,
)
from tallystick.pipeline.records import Headers, Output
from tallystick.pipeline.starts import StoredOffset, TopicFacts

log = structlog.get_logger(__name__)

Partition = tuple[str, int]
"""Topic name and partition number."""

GroupMetadata = NewType("GroupMetadata", bytes)

_METADATA_MAGIC: Final = b"CGMDv2:"
_REQUEST_TIMEOUT_S: Final = 10.0
_TOPIC_ALREADY_EXISTS: Final = 36
_REFUSALS: Final = frozenset({10, 18, 87})  # MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE, INVALID_RECORD


def failure_of(error: KafkaError) -> Failure:
    """A ``KafkaError`` as plain values."""
    return Failure(
        code=error.code(),
        name=error.name(),
        text=error.str(),
        fatal=error.fatal(),
        retriable=error.retriable(),
        requires_abort=error.txn_requires_abort(),
    )


def translate(exception: KafkaException, operation: Operation, subject: str) -> Exception:
    """The error to raise instead; ``subject`` names the topic, group or transactional id."""
    failure = failure_of(exception.args[0])
    kind = classify(failure, operation)
    return kind(f"{operation.value} of {subject}: {failure.name}: {failure.text}")


@dataclass(frozen=True, slots=True)
class Membership:
    """Who this consumer is in its group, as the coordinator will check it.

    ``raw`` goes to ``send_offsets_to_transaction`` unchanged. Its layout is librdkafka's serialisation, which
    starts with a magic word that names its version; an unknown version is refused.
    """

    raw: GroupMetadata
    generation: int
    member_id: str

    @classmethod
    def parse(cls, raw: bytes) -> Membership:
        body = raw.removeprefix(_METADATA_MAGIC)
        if body == raw or len(body) < 4:
            raise FatalError(f"librdkafka's group metadata has an unknown layout: {raw[:8]!r}")
        _group, member_id, _rest = body[4:].split(b"\0", 2)
        return cls(GroupMetadata(raw), int.from_bytes(body[:4], "little", signed=True), member_id.decode())

    @property
    def is_fencing(self) -> bool:
        """Whether the coordinator will check anything at all: it skips the check without member or generation."""
        return self.generation >= 0 and bool(self.member_id)


class OutputRefused(AbortableError):
    """Kafka does not take a record whatever is done (too large, invalid): the input that made it is to blame."""


class RebalanceListener(Protocol):
    """Told about the assignment, inside ``poll``, in the polling thread."""

    def assigned(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """The offset to start each partition at."""
        ...

    def revoked(self, partitions: Sequence[Partition]) -> None: ...

    def lost(self, partitions: Sequence[Partition]) -> None: ...


class _ConnectionLog(logging.Handler):
    """Turns librdkafka's log lines into calls: ``observe(facility, text)``."""

    def __init__(self, client: str, observe: Callable[[str, str], None]) -> None:
        super().__init__()
        self._client = client
        self._observe = observe

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        log.debug("librdkafka", client=self._client, text=text)
        self._observe(text.split(" ", 1)[0], text)


def _logger(client: str, observe: Callable[[str, str], None]) -> logging.Logger:
    """A logger outside the global tree, so that two clients never share observers."""
    logger = logging.Logger(f"tallystick.librdkafka.{client}")
    logger.addHandler(_ConnectionLog(client, observe))
    return logger


class GroupConsumer:
    """A member of a consumer group, with explicit positions only."""

    def __init__(self, settings: Mapping[str, Any], listener: RebalanceListener) -> None:
        self._listener = listener
        self._group = str(settings["group.id"])
        self._raised: BaseException | None = None
        self._consumer = confluent_kafka.Consumer(
            {**settings, "error_cb": self._on_error}, logger=_logger(self._group, lambda _facility, _text: None)
        )

    def subscribe(self, topics: Sequence[str]) -> None:
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, max_records: int, timeout_ms: int) -> list[Message]:
        """Up to ``max_records`` messages; serves rebalances, and raises what their listener or the group raised."""
        try:
            messages: list[Any] = self._consumer.consume(max_records, timeout_ms / 1000)
        except KafkaException as error:
            raise translate(error, Operation.CONSUME, self._group) from error
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised
        if any(message.error() is not None for message in messages):
            return self._without_errors(messages)
        return messages

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, StoredOffset]:
        """Committed offsets, stable ones only; waits while a transaction holds one back (rule 3)."""
        asked = [TopicPartition(topic, partition) for topic, partition in partitions]
        if not asked:
            return {}
        try:
            answered = self._consumer.committed(asked, timeout=_REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise translate(error, Operation.COMMITTED, self._group) from error
        self._raise_first_error(answered, Operation.COMMITTED)
        return {(one.topic, one.partition): _stored(one) for one in answered}

    def earliest(self, partition: Partition) -> int:
        """The log start offset of a partition."""
        try:
            watermarks = self._consumer.get_watermark_offsets(TopicPartition(*partition), timeout=_REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise translate(error, Operation.LOOK_UP, f"{partition[0]}-{partition[1]}") from error
        if watermarks is None:
            raise RetriableError(f"no answer about the start of {partition[0]}-{partition[1]}")
        return int(watermarks[0])

    def commit(self, offsets: Mapping[Partition, int], notes: Mapping[str, str]) -> None:
        """Commit outside a transaction, as a member of the group; waits for the answer."""
        try:
            answered = self._consumer.commit(offsets=_positions(offsets, notes), asynchronous=False)
        except KafkaException as error:
            raise translate(error, Operation.COMMIT_OFFSETS, self._group) from error
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

    def membership(self) -> Membership:
        """The group metadata as of now."""
        return Membership.parse(self._consumer.consumer_group_metadata())

    def close(self) -> None:
        """Leave; a static member keeps its place in the group until its session expires."""
        self._consumer.close()
        self._raise_pending()

    def _raise_pending(self) -> None:
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised

    def _raise_first_error(self, answered: Iterable[Any], operation: Operation) -> None:
        for one in answered:
            if one.error is not None:
                subject = f"{self._group}, {one.topic}-{one.partition}"
                raise translate(KafkaException(one.error), operation, subject)

    def _without_errors(self, messages: list[Any]) -> list[Message]:
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
            kind = classify(failure, Operation.CONSUME)
            if failure.fatal or kind in {FencedError, ConfigurationError}:
                raise kind(f"consume of {place}: {failure.name}: {failure.text}")
            log.warning("consume", place=place, error=failure.name, text=failure.text)
        return good

    def _on_error(self, error: KafkaError) -> None:
        failure = failure_of(error)
        kind = classify(failure, Operation.CONSUME)
        if failure.fatal or kind is FencedError:
            self._raised = self._raised or kind(f"group {self._group}: {failure.name}: {failure.text}")
        elif failure.code == ALL_BROKERS_DOWN:
            log.info("consumer connection", group=self._group, text=failure.text)
        else:
            log.debug("consumer connection", group=self._group, error=failure.name, text=failure.text)

    # An exception that leaves a call-back reaches the poller as a SystemError without its cause: it is kept, and
    # raised by ``poll``.

    def _on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        try:
            starts = self._listener.assigned([(one.topic, one.partition) for one in partitions])
            consumer.assign(_positions(starts, {}))
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
            consumer.unassign()
        except BaseException as error:  # noqa: BLE001
            self._raised = self._raised or error


class _BrokerStatistics(msgspec.Struct):
    disconnects: int = 0
    req_timeouts: int = 0


class _Statistics(msgspec.Struct):
    brokers: dict[str, _BrokerStatistics] = {}


_STATISTICS: Final = msgspec.json.Decoder(_Statistics)
_LOSS_FACILITIES: Final = ("FAIL", "REQTMOUT", "ERROR")


class Producer:
    """A producer, transactional if its settings have a ``transactional.id``.

    ``suspicion`` says why its last EndTxn may still be on its way although it was answered (rule 15): a connection
    was lost, or a request timed out, since ``init_transactions``. It never goes away: the object is discarded before
    its next transaction. (librdkafka logs a second identical loss within 30 seconds no more, so nothing may be
    forgiven; its retry counter is no sign of trouble, because it also counts waits for CONCURRENT_TRANSACTIONS.)
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._name = str(settings.get("transactional.id") or settings.get("client.id") or "producer")
        self._suspicion: str | None = None
        self._losses_at_init: int | None = None
        self._failed: Failure | None = None
        self._failed_count = 0
        self._fatal: Exception | None = None
        self._producer = confluent_kafka.Producer(
            {
                **settings,
                "on_delivery": self._on_delivery,
                "error_cb": self._on_error,
                "stats_cb": self._on_statistics,
            },
            logger=_logger(self._name, self._observe),
        )

    @property
    def suspicion(self) -> str | None:
        """Why the connection cannot be trusted; call ``poll`` before reading it."""
        return self._suspicion

    def init_transactions(self) -> None:
        """Get a producer id and epoch; settles and fences whatever an earlier producer of this id left."""
        self._call(Operation.INIT, self._producer.init_transactions, _REQUEST_TIMEOUT_S)
        self.poll()
        self._suspicion = None  # what was lost before this answer, it settled
        self._losses_at_init = None

    def begin(self) -> None:
        self._failed, self._failed_count = None, 0
        self._call(Operation.BEGIN, self._producer.begin_transaction)

    def produce(self, outputs: Iterable[Output]) -> int:
        """Hand records to librdkafka, in order; their number. A full queue is waited for, up to ten seconds each."""
        produce = self._producer.produce
        count = 0
        for output in outputs:
            headers: Headers = ((EVENT_ID_HEADER, output.event_id.encode()), *_others(output.headers))
            optional: dict[str, Any] = {}
            if output.partition is not None:
                optional["partition"] = output.partition
            if output.timestamp_ms is not None:
                optional["timestamp"] = output.timestamp_ms
            try:
                produce(output.topic, output.value, output.key, headers=list(headers), **optional)
            except BufferError:
                self._produce_when_possible(output, headers, optional)
            except KafkaException as error:
                raise self._refused(error, output) from error
            count += 1
        self.poll()
        self.raise_if_poisoned()
        return count

    def flush(self) -> None:
        """Wait until every record is acknowledged; ``AbortableError`` if one failed, ``RetriableError`` on timeout."""
        try:
            remaining = self._producer.flush(_REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise translate(error, Operation.FLUSH, self._name) from error
        self.raise_if_poisoned()
        if remaining:
            raise RetriableError(f"flush of {self._name}: {remaining} records are not acknowledged yet")

    def take_failures(self) -> int:
        """Number of failed deliveries since the last call; for a guarantee that may lose."""
        count, self._failed, self._failed_count = self._failed_count, None, 0
        return count

    def raise_if_poisoned(self) -> None:
        """``AbortableError`` if a delivery of this transaction failed (rule 16)."""
        if self._fatal is not None:
            raise self._fatal
        if self._failed is not None:
            kind = OutputRefused if self._failed.code in _REFUSALS else AbortableError
            raise kind(
                f"{self._failed_count} deliveries of {self._name} failed: {self._failed.name}: {self._failed.text}"
            )

    def send_offsets(self, offsets: Mapping[Partition, int], notes: Mapping[str, str], membership: Membership) -> None:
        """Make the offsets part of the transaction, fenced by ``membership``; refused without one (rule 2)."""
        if not membership.is_fencing:
            raise AbortableError(
                f"send_offsets_to_transaction of {self._name}: the consumer has no membership (rule 2): "
                f"member id {membership.member_id!r}, generation {membership.generation}"
            )
        self._call(
            Operation.SEND_OFFSETS,
            self._producer.send_offsets_to_transaction,
            _positions(offsets, notes),
            membership.raw,
            _REQUEST_TIMEOUT_S,
        )

    def commit(self, timeout_ms: int) -> None:
        """Flush, then EndTxn; ``AmbiguousOutcome`` without a clear answer. Look at ``suspicion`` afterwards."""
        try:
            self._call(Operation.COMMIT, self._producer.commit_transaction, timeout_ms / 1000)
        except AbortableError:
            self.poll()
            self.raise_if_poisoned()  # says which delivery failed, and whether the record is to blame
            raise
        self.poll()
        self.raise_if_poisoned()

    def abort(self, timeout_ms: int) -> None:
        self._call(Operation.ABORT, self._producer.abort_transaction, timeout_ms / 1000)
        self.poll()

    def poll(self) -> None:
        """Serve call-backs: delivery reports, log lines, statistics."""
        self._producer.poll(0)

    def discard(self) -> None:
        """Let go of the client without asking the broker for anything; the object is of no use afterwards."""
        try:
            self._producer.purge(blocking=False)
        except KafkaException as error:
            log.info("purge of a discarded producer", producer=self._name, error=str(error))
        del self._producer

    def _call(self, operation: Operation, call: Callable[..., Any], *arguments: Any) -> None:
        try:
            call(*arguments)
        except KafkaException as error:
            raise translate(error, operation, self._name) from error

    def _produce_when_possible(self, output: Output, headers: Headers, optional: Mapping[str, Any]) -> None:
        for _attempt in range(100):
            self._producer.poll(0.1)
            try:
                self._producer.produce(output.topic, output.value, output.key, headers=list(headers), **optional)
            except BufferError:
                continue
            except KafkaException as error:
                raise self._refused(error, output) from error
            return
        raise AbortableError(f"produce to {output.topic}: librdkafka's queue stayed full for 10 seconds")

    def _refused(self, exception: KafkaException, output: Output) -> Exception:
        """Never retriable: records before this one are with librdkafka, and would be written twice."""
        translated = translate(exception, Operation.PRODUCE, output.topic)
        failure = failure_of(exception.args[0])
        if failure.code in _REFUSALS or failure.name == "_INVALID_ARG":
            return OutputRefused(str(translated))
        return AbortableError(str(translated)) if isinstance(translated, RetriableError) else translated

    def _on_delivery(self, error: KafkaError | None, _message: Any) -> None:
        if error is None:
            return
        failure = failure_of(error)
        if poisons(failure):
            self._failed = self._failed or failure
            self._failed_count += 1

    def _on_error(self, error: KafkaError) -> None:
        failure = failure_of(error)
        if failure.fatal:
            kind = classify(failure, Operation.PRODUCE)
            self._fatal = self._fatal or kind(f"producer {self._name}: {failure.name}: {failure.text}")
        else:
            self._suspect(f"{failure.name}: {failure.text}")

    def _observe(self, facility: str, text: str) -> None:
        if facility in _LOSS_FACILITIES:
            self._suspect(text)

    def _on_statistics(self, raw: str) -> None:
        brokers = _STATISTICS.decode(raw).brokers
        losses = sum(broker.disconnects + broker.req_timeouts for broker in brokers.values())
        if self._losses_at_init is None:
            self._losses_at_init = losses
        elif losses > self._losses_at_init:
            self._suspect(f"statistics: {losses - self._losses_at_init} disconnects and request timeouts")

    def _suspect(self, why: str) -> None:
        if self._suspicion is None:
            self._suspicion = why
            log.info("producer connection", producer=self._name, why=why)


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
        return str(_answer(admin.describe_cluster(request_timeout=_REQUEST_TIMEOUT_S), "cluster").cluster_id)

    def topics(self, names: Iterable[str]) -> dict[str, TopicFacts]:
        """Id and partition count of each topic that exists."""
        admin = self._admin()
        wanted = confluent_kafka.TopicCollection(list(names))
        found = {}
        for name, future in admin.describe_topics(wanted, request_timeout=_REQUEST_TIMEOUT_S).items():
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

    def create_topics(self, topics: Mapping[str, int | None]) -> None:
        """Create the topics, with the broker's default number of partitions for None; existing ones are left."""
        if not topics:
            return
        admin = self._admin()
        wanted = [NewTopic(name, num_partitions=count or -1, replication_factor=-1) for name, count in topics.items()]
        for name, future in admin.create_topics(wanted, request_timeout=_REQUEST_TIMEOUT_S).items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != _TOPIC_ALREADY_EXISTS:
                    raise translate(error, Operation.LOOK_UP, name) from error

    def group_offsets(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, StoredOffset]:
        """Committed offsets as they are, without waiting for transactions that hold newer ones back."""
        asked = [TopicPartition(topic, partition) for topic, partition in partitions]
        if not asked:
            return {}
        admin = self._admin()
        request = [ConsumerGroupTopicPartitions(group, asked)]
        futures = admin.list_consumer_group_offsets(request, request_timeout=_REQUEST_TIMEOUT_S)
        answered = _answer(futures[group], group).topic_partitions
        return {(one.topic, one.partition): _stored(one) for one in answered if one.error is None}

    def instance_holders(self, group: str) -> dict[str, str]:
        """Static members of a group: ``group.instance.id`` to member id."""
        admin = self._admin()
        future = admin.describe_consumer_groups([group], request_timeout=_REQUEST_TIMEOUT_S)[group]
        members = _answer(future, group).members
        return {one.group_instance_id: one.member_id for one in members if one.group_instance_id}

    def _admin(self) -> AdminClient:
        """A client; the caller holds it until the answer is there."""
        return AdminClient(self._settings, logger=_logger("admin", lambda _facility, _text: None))


def _answer(future: Any, subject: str) -> Any:
    try:
        return future.result()
    except KafkaException as error:
        raise translate(error, Operation.LOOK_UP, subject) from error


def _positions(offsets: Mapping[Partition, int], notes: Mapping[str, str]) -> list[TopicPartition]:
    return [
        TopicPartition(topic, partition, offset, notes[topic])
        if topic in notes
        else TopicPartition(topic, partition, offset)
        for (topic, partition), offset in offsets.items()
    ]


def _stored(answered: Any) -> StoredOffset:
    return StoredOffset(answered.offset if answered.offset >= 0 else None, answered.metadata)


def _others(headers: Headers) -> Headers:
    if not headers:
        return headers
    return tuple(header for header in headers if header[0] != EVENT_ID_HEADER)
