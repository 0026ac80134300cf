"""Reads topics and offsets with a plain consumer, to the end and within a deadline.

Owns: the only use of a Kafka client in the oracle. It assigns partitions by hand and commits nothing, so that it
disturbs no group. Must not know: what the records should be.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tallystick.errors import TallystickError
from tallystick.ids import EVENT_ID_HEADER, body_hash
from tallystick.verify.oracle.history import Position, Seen, TopicView

Identify = Callable[[Message], str]

NO_SETTINGS: Final[Mapping[str, str]] = MappingProxyType({})
RECORDS_MAX: Final = 10_000_000
"""More records than this in one topic are refused."""
_POLL_S: Final = 0.5
_RETRY_S: Final = 0.1
_BATCH_RECORDS: Final = 1_000
PASSING_ERRORS: Final = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError._TRANSPORT,  # noqa: SLF001 - the client's public name for it, as are the next
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
    }
)
"""Errors that pass while a broker starts or moves; the client's own flag is not set for them everywhere."""
_PARTITION_EOF: Final = KafkaError._PARTITION_EOF  # noqa: SLF001 - the client's public name for it


class OracleUnfinished(TallystickError):
    """The reader did not reach the end in time, so there is no verdict: neither passed nor failed."""


def identity_from_header(message: Message) -> str:
    """The event id in the record's header; a record without one gets a name that nobody expects."""
    for name, value in list(message.headers() or ()):
        if name == EVENT_ID_HEADER and isinstance(value, bytes):
            return value.decode("ascii", "replace")
    return f"no-event-id@{message.topic()}-{message.partition()}@{message.offset()}"


def identity_from_payload(field: str) -> Identify:
    """Identity by one field of a JSON object in the value: independent of anything that the runtime stamps."""

    def identify(message: Message) -> str:
        try:
            decoded = json.loads(message.value() or b"")
        except ValueError:
            decoded = None
        if isinstance(decoded, dict) and field in decoded:
            return str(decoded[field])
        return f"no-{field}@{message.topic()}-{message.partition()}@{message.offset()}"

    return identify


def read_view(
    bootstrap: str,
    topic: str,
    *,
    identify: Identify = identity_from_header,
    timeout_s: float = 30.0,
    client: Mapping[str, str] = NO_SETTINGS,
) -> TopicView:
    """Both views of one topic. Raises ``OracleUnfinished`` past ``timeout_s``, ``KafkaException`` from the client.

    ``read_committed`` is read first: what commits between the two readings is missing from the committed view, never
    the other way round. ``client`` are librdkafka's settings for TLS and SASL.
    """
    deadline = time.monotonic() + timeout_s
    settings = {"bootstrap.servers": bootstrap, **client}
    committed: list[Seen] = []
    uncommitted: list[Seen] = []
    stable, high = (
        read_each(settings, topic, isolation, take, identify=identify, timeout_s=deadline - time.monotonic())
        for isolation, take in (("read_committed", committed.append), ("read_uncommitted", uncommitted.append))
    )
    return TopicView(topic, _by_position(committed), _by_position(uncommitted), stable, high)


def _by_position(records: Iterable[Seen]) -> tuple[Seen, ...]:
    return tuple(sorted(records, key=lambda record: record.position))


def latest_values(
    bootstrap: str, topic: str, *, timeout_s: float = 30.0, client: Mapping[str, str] = NO_SETTINGS
) -> dict[bytes, bytes]:
    """Of each key the newest committed value; one whose newest record is a tombstone is absent."""
    newest: dict[bytes, tuple[Position, bytes | None]] = {}

    def note(message: Message) -> str:
        position = Position(topic, int(message.partition() or 0), int(message.offset() or 0))
        before = newest.get(message.key() or b"")
        if before is None or before[0] < position:
            newest[message.key() or b""] = (position, message.value())
        return ""

    settings = {"bootstrap.servers": bootstrap, **client}
    read_each(settings, topic, "read_committed", lambda _: None, identify=note, timeout_s=timeout_s)
    return {key: value for key, (_, value) in newest.items() if value is not None}


def committed_offsets(
    bootstrap: str,
    group: str,
    topics: Iterable[str],
    *,
    timeout_s: float = 30.0,
    client: Mapping[str, str] = NO_SETTINGS,
) -> dict[tuple[str, int], int]:
    """The group's committed offsets by topic and partition, with pending ones waited for (rule 3)."""
    deadline = time.monotonic() + timeout_s
    consumer = plain_consumer({"bootstrap.servers": bootstrap, **client}, "read_committed", group=group)
    try:
        wanted = [
            TopicPartition(topic, partition) for topic in topics for partition in _partitions(consumer, topic, deadline)
        ]
        return ask_committed(consumer, wanted, timeout_s=deadline - time.monotonic())
    finally:
        consumer.close()


def ask_committed(
    consumer: Consumer, partitions: Sequence[TopicPartition], *, timeout_s: float
) -> dict[tuple[str, int], int]:
    """The committed offsets of the consumer's group; a partition without one is absent.

    A coordinator that moves or loads is asked again, up to ``timeout_s``; then its error is raised.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        remaining_s = max(0.1, deadline - time.monotonic())
        asked = [TopicPartition(item.topic, item.partition) for item in partitions]
        try:
            found = consumer.committed(asked, timeout=remaining_s)
            errors = [item.error for item in found if item.error is not None]
        except KafkaException as exception:
            errors = [exception.args[0]]
        if not errors:
            return {(item.topic, item.partition): item.offset for item in found if item.offset >= 0}
        if errors[0].code() not in PASSING_ERRORS or time.monotonic() + _RETRY_S > deadline:
            raise KafkaException(errors[0])
        time.sleep(_RETRY_S)


def read_each(
    client: Mapping[str, str],
    topic: str,
    isolation: str,
    take: Callable[[Seen], None],
    *,
    identify: Identify,
    timeout_s: float,
) -> dict[int, int]:
    """Give every record of one view to ``take``, each partition in its order; returns the ends of the partitions.

    ``client`` are librdkafka's settings. Raises as ``read_view``.
    """
    deadline = time.monotonic() + timeout_s
    consumer = plain_consumer(client, isolation)
    try:
        ends = {
            partition: _end_offset(consumer, topic, partition, deadline)
            for partition in _partitions(consumer, topic, deadline)
        }
        _drain(consumer, topic, ends, lambda message: take(seen_of(message, identify)), deadline)
    finally:
        consumer.close()
    return ends


def _drain(
    consumer: Consumer, topic: str, ends: dict[int, int], take: Callable[[Message], None], deadline: float
) -> None:
    """Everything below ``ends``; the client's end-of-partition event says that a trailing marker was passed."""
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    unread = {partition for partition, end in ends.items() if end > 0}
    taken = 0
    while unread:
        if time.monotonic() > deadline:
            raise OracleUnfinished(f"{topic}: partitions {sorted(unread)} were not read to their ends {ends} in time")
        for message in consumer.consume(_BATCH_RECORDS, timeout=_POLL_S):
            partition, offset = int(message.partition() or 0), int(message.offset() or 0)
            error = message.error()
            if error is None and offset < ends[partition]:
                take(message)
                taken += 1
            elif error is not None and error.code() != _PARTITION_EOF and error.code() not in PASSING_ERRORS:
                raise KafkaException(error)
            past = offset + 1 if error is None else offset
            if (error is None or error.code() == _PARTITION_EOF) and past >= ends[partition]:
                unread.discard(partition)
        if taken > RECORDS_MAX:
            raise OracleUnfinished(f"{topic}: more than {RECORDS_MAX} records")


def seen_of(message: Message, identify: Identify) -> Seen:
    """A message as the oracle compares it."""
    return Seen(
        position=Position(str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)),
        key=message.key(),
        identity=identify(message),
        body_hash=body_hash(message.value() or b""),
    )


def plain_consumer(client: Mapping[str, str], isolation: str, *, group: str = "tallystick-oracle") -> Consumer:
    """A consumer that commits nothing; ``client`` says at least where the cluster is."""
    settings: dict[str, Any] = {
        "log_level": 3,
        **client,
        "group.id": group,
        "isolation.level": isolation,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 20,
        "fetch.queue.backoff.ms": 5,  # the default stops fetching for a second whenever 100,000 messages wait
        "auto.offset.reset": "error",
        "allow.auto.create.topics": False,
    }
    return Consumer(settings)


def _partitions(consumer: Consumer, topic: str, deadline: float) -> tuple[int, ...]:
    metadata = consumer.list_topics(topic, timeout=max(0.1, deadline - time.monotonic())).topics[topic]
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    return tuple(sorted(metadata.partitions))


def _end_offset(consumer: Consumer, topic: str, partition: int, deadline: float) -> int:
    """The end under the consumer's own isolation level, asked from the broker."""
    _, end = consumer.get_watermark_offsets(
        TopicPartition(topic, partition), timeout=max(0.1, deadline - time.monotonic()), cached=False
    )
    return int(end)
