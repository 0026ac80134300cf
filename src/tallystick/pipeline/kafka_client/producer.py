"""A producer over librdkafka, and what its connections tell about the end of a transaction.

Owns: ``Producer``. Must not know: the cycle, user code, policies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import confluent_kafka
import msgspec
import structlog
from confluent_kafka import KafkaError, KafkaException

from tallystick.errors import AbortableError, ConfigurationError, FatalError, RetriableError
from tallystick.ids import EVENT_ID_HEADER, EventId
from tallystick.pipeline.error_classes import REFUSALS, UNKNOWN_TOPICS, Failure, Operation, classify, poisons
from tallystick.pipeline.kafka_client.failures import REQUEST_TIMEOUT_S, OutputRefused, failure_of, translate
from tallystick.pipeline.kafka_client.logs import client_logger
from tallystick.pipeline.kafka_client.membership import GroupMetadata, Membership
from tallystick.pipeline.kafka_client.partitions import Partition, positions
from tallystick.pipeline.outputs import Column, Numbered
from tallystick.pipeline.records import UNSTAMPED, Emit, Output

log = structlog.get_logger(__name__)

_Headers = list[tuple[str, str | bytes | None]]
"""As confluent-kafka takes them."""


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

    def __init__(self, settings: Mapping[str, Any], *, tracked: frozenset[str] = frozenset()) -> None:
        """``tracked`` are topics whose partitions' last offsets ``delivered`` tells."""
        self._tracked = tracked
        self.delivered: dict[Partition, int] = {}
        """Of tracked topics: the offset of the last record of this transaction, by partition."""
        self._name = str(settings.get("transactional.id") or settings.get("client.id") or "producer")
        self._is_transactional = bool(settings.get("transactional.id"))
        self._suspicion: str | None = None
        self._losses_at_init: int | None = None
        self._failed: Failure | None = None
        self._failed_topic: str | None = None
        self._failed_count = 0
        self._written: list[Sequence[Output]] = []
        """Of the open transaction: an error that names no topic is told with all of them."""
        self._fatal: Exception | None = None
        self._producer = confluent_kafka.Producer(
            {
                **settings,
                **({"delivery.report.only.error": False} if tracked else {}),
                "on_delivery": self._on_delivery,
                "error_cb": self._on_error,
                "stats_cb": self._on_statistics,
            },
            logger=client_logger(self._name, self._observe),
        )

    @property
    def suspicion(self) -> str | None:
        """Why the connection cannot be trusted; call ``poll`` before reading it."""
        return self._suspicion

    def init_transactions(self) -> None:
        """Get a producer id and epoch; settles and fences whatever an earlier producer of this id left."""
        self._call(Operation.INIT, self._producer.init_transactions, REQUEST_TIMEOUT_S)
        self.poll()
        self._suspicion = None  # what was lost before this answer, it settled
        self._losses_at_init = None

    def begin(self) -> None:
        self._failed, self._failed_count = None, 0
        self._written = []
        self.delivered = {}
        self._call(Operation.BEGIN, self._producer.begin_transaction)

    def produce(self, outputs: Sequence[Output]) -> int:
        """Hand records to librdkafka, in order; their number. A full queue is waited for, up to ten seconds each."""
        self._written.append(outputs)
        if isinstance(outputs, Column):
            self._produce_column(outputs)
        elif isinstance(outputs, Numbered):
            self._produce_numbered(outputs)
        else:
            for output in outputs:
                self._produce_one(output)
        self.poll()
        self.raise_if_poisoned()
        return len(outputs)

    # All arguments of librdkafka's ``produce`` by their places: topic, value, key, partition, two names of one
    # call-back, timestamp, headers. By name, a quarter of the time would go into finding out which is which.

    def _produce_column(self, outputs: Column) -> None:
        produce, topic = self._producer.produce, outputs.topic
        columns = zip(outputs.values, outputs.keys, outputs.ids, outputs.stamps, strict=True)
        for index, (value, key, event_id, stamp) in enumerate(columns):
            try:
                produce(topic, value, key, -1, None, None, stamp, [(EVENT_ID_HEADER, event_id)])
            except (BufferError, KafkaException) as error:
                self._produce_after(error, outputs[index])

    def _produce_numbered(self, outputs: Numbered) -> None:
        produce = self._producer.produce
        columns = zip(outputs.emits, outputs.ids, outputs.stamps, strict=True)
        for index, (emit, event_id, stamp) in enumerate(columns):
            try:
                if emit.headers or emit.partition is not None or emit.timestamp_ms is not None:
                    produce(emit.topic, emit.value, emit.key, *_given(emit, event_id, stamp))
                else:
                    produce(emit.topic, emit.value, emit.key, -1, None, None, stamp, [(EVENT_ID_HEADER, event_id)])
            except (BufferError, KafkaException) as error:
                self._produce_after(error, outputs[index])

    def _produce_one(self, output: Output) -> None:
        try:
            self._producer.produce(output.topic, output.value, output.key, *_given(output, output.event_id))
        except (BufferError, KafkaException) as error:
            self._produce_after(error, output)

    def _produce_after(self, error: BufferError | KafkaException, output: Output) -> None:
        """librdkafka did not take it: its queue is full, or the record is not to be had."""
        if isinstance(error, KafkaException):
            raise self._refused(error, output) from error
        for _attempt in range(100):
            self._serve(0.1)
            try:
                self._producer.produce(output.topic, output.value, output.key, *_given(output, output.event_id))
            except BufferError:
                continue
            except KafkaException as refusal:
                raise self._refused(refusal, output) from refusal
            return
        raise AbortableError(f"produce to {output.topic}: librdkafka's queue stayed full for 10 seconds")

    def flush(self) -> None:
        """Wait until every record is acknowledged; ``AbortableError`` if one failed, ``RetriableError`` on timeout."""
        try:
            remaining = self._producer.flush(REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise translate(error, Operation.FLUSH, self._name) from error
        except SystemError as error:
            # A fatal error was on its way out of ``flush`` when a call-back wanted to tell of it. Such an error stays,
            # and a transaction's commit raises it; without one, nobody would hear of records that were not delivered.
            if not self._is_transactional:
                raise FatalError(f"flush of {self._name}: a fatal error of the client") from error
            remaining = 0
        self.raise_if_poisoned()
        if remaining:
            raise RetriableError(f"flush of {self._name}: {remaining} records are not acknowledged yet")

    def take_failures(self) -> int:
        """Number of failed deliveries since the last call; for a guarantee that may lose."""
        count, self._failed, self._failed_count = self._failed_count, None, 0
        return count

    def raise_if_poisoned(self) -> None:
        """``AbortableError`` if a delivery of this transaction failed (rule 16), or another error if it would again."""
        if self._fatal is not None:
            raise self._fatal
        if self._failed is not None:
            failure = self._failed
            said = (
                f"{self._failed_count} deliveries of {self._name} failed, the first to topic {self._failed_topic!r}: "
                f"{failure.name}: {failure.text}"
            )
            if failure.code in REFUSALS:
                raise OutputRefused(said)
            if failure.code in UNKNOWN_TOPICS:
                raise ConfigurationError(said, remedy="Create the topic, or name it in the step's emits=[...]")
            if classify(failure, Operation.PRODUCE) is ConfigurationError:
                raise ConfigurationError(said, remedy="Grant the right, then start again")
            raise AbortableError(said)

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
            positions(offsets, notes),
            membership.raw,
            REQUEST_TIMEOUT_S,
        )

    def send_position(self, partition: Partition, position: int, note: str, group: GroupMetadata) -> None:
        """Make position and note of an ``UnjoinedGroup`` part of the transaction; it is fenced as a producer only."""
        self._call(
            Operation.SEND_OFFSETS,
            self._producer.send_offsets_to_transaction,
            positions({partition: position}, {partition[0]: note}),
            group,
            REQUEST_TIMEOUT_S,
        )

    def commit(self, timeout_ms: int) -> None:
        """Flush, then EndTxn; ``AmbiguousOutcome`` without a clear answer. Look at ``suspicion`` afterwards."""
        try:
            self._call(Operation.COMMIT, self._producer.commit_transaction, timeout_ms / 1000)
        except AbortableError:
            self.poll()
            self.raise_if_poisoned()  # says which delivery failed, and whether the record is to blame
            raise
        except ConfigurationError as error:
            topics = sorted({output.topic for outputs in self._written for output in outputs})
            raise ConfigurationError(f"{error}. The transaction wrote to {topics}") from error
        self.poll()
        self.raise_if_poisoned()

    def abort(self, timeout_ms: int) -> None:
        self._call(Operation.ABORT, self._producer.abort_transaction, timeout_ms / 1000)
        self.poll()

    def poll(self) -> None:
        """Serve call-backs: delivery reports, log lines, statistics."""
        self._serve(0)

    def _serve(self, timeout_s: float) -> None:
        try:
            self._producer.poll(timeout_s)
        except KafkaException as error:  # a fatal error comes out of it too; whatever is called next raises it
            self._fatal = self._fatal or translate(error, Operation.PRODUCE, self._name)
        except SystemError as error:  # as in ``flush``
            self._fatal = self._fatal or FatalError(f"producer {self._name}: a fatal error of the client: {error}")

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

    def _refused(self, exception: KafkaException, output: Output) -> Exception:
        """Never retriable: records before this one are with librdkafka, and would be written twice."""
        translated = translate(exception, Operation.PRODUCE, output.topic)
        failure = failure_of(exception.args[0])
        if failure.code in REFUSALS or failure.name == "_INVALID_ARG":
            return OutputRefused(str(translated))
        return AbortableError(str(translated)) if isinstance(translated, RetriableError) else translated

    def _on_delivery(self, error: KafkaError | None, message: Any) -> None:
        if error is None:
            if self._tracked and (topic := message.topic()) in self._tracked:
                self.delivered[topic, message.partition()] = message.offset()
            return
        failure = failure_of(error)
        if poisons(failure):
            if self._failed is None:
                self._failed, self._failed_topic = failure, message.topic()
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


def _given(output: Output | Emit, event_id: EventId, stamp: int = UNSTAMPED) -> tuple[int, None, None, int, _Headers]:
    """The arguments behind the key: partition, no call-backs, timestamp (``stamp`` if it has none), headers."""
    headers: _Headers = [(EVENT_ID_HEADER, event_id)]
    headers += [header for header in output.headers if header[0] != EVENT_ID_HEADER]
    partition = -1 if output.partition is None else output.partition
    return partition, None, None, stamp if output.timestamp_ms is None else output.timestamp_ms, headers
