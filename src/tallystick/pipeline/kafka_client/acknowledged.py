"""A producer whose every record is answered: for programs that write one event at a time and wait for it.

Owns: ``AcknowledgedProducer``. Must not know: transactions, web frameworks, who waits.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import confluent_kafka
import structlog
from confluent_kafka import KafkaError, KafkaException

from tallystick.errors import AmbiguousOutcome, ConfigurationError, RetriableError, TallystickError
from tallystick.ids import EVENT_ID_HEADER, EventId
from tallystick.pipeline.error_classes import FATAL, REFUSALS, UNKNOWN_TOPICS, Failure, Operation, classify
from tallystick.pipeline.kafka_client.failures import failure_of
from tallystick.pipeline.kafka_client.logs import client_logger
from tallystick.pipeline.records import Output

log = structlog.get_logger(__name__)

T = TypeVar("T")

_POLL_S: Final = 0.1
_AGAIN: Final = "It may have been written: publish it again under the same event id"


class PublisherFull(RetriableError):
    """As many events as may wait do wait for the broker: say so to whoever sends them, and let them come again."""


class EventRefused(TallystickError):
    """Kafka never takes this event, whatever is done: it is too large, or invalid."""


@dataclass(frozen=True, slots=True)
class Published:
    """Where an event is, in every replica that has to have it."""

    event_id: EventId
    topic: str
    partition: int
    offset: int


_Delivery = tuple[Future[Published], Output, KafkaError | None, Any]
"""An event's answer, what it was, librdkafka's error, and its message."""


class AcknowledgedProducer:
    """Any thread may ``send``; a thread of its own serves librdkafka's answers."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._name = str(settings.get("client.id") or "publisher")
        self.fatal: Failure | None = None
        """Why the client is beyond use."""
        # What librdkafka said, and nobody was told of yet. Its call-backs put it here and do no more: a fatal error may
        # be on its way out of ``poll`` meanwhile, and then the next call of C fails although it is done. A lock's does,
        # too, and nobody would release it.
        self._errors: deque[KafkaError] = deque()
        self._delivered: deque[_Delivery] = deque()
        self._producer = confluent_kafka.Producer(
            {**settings, "error_cb": self._errors.append},
            logger=client_logger(self._name, lambda _facility, _text: None),
        )
        self._unanswered: set[Future[Published]] = set()  # librdkafka's own count takes its log lines for events
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"{self._name}-answers", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Events without an answer."""
        return len(self._unanswered)

    def send(self, output: Output) -> Future[Published]:
        """The answer, when it is here: an error of this package, or where the record is."""
        answer: Future[Published] = Future()

        def on_delivery(error: KafkaError | None, message: Any) -> None:
            self._delivered.append((answer, output, error, message))

        headers: list[tuple[str, str | bytes | None]] = [(EVENT_ID_HEADER, output.event_id), *output.headers]
        partition = -1 if output.partition is None else output.partition
        self._unanswered.add(answer)
        try:
            self._producer.produce(
                output.topic,
                output.value,
                output.key,
                partition=partition,
                on_delivery=on_delivery,
                timestamp=output.timestamp_ms or 0,
                headers=headers,
            )
        except BaseException as error:
            self._unanswered.discard(answer)  # it was not taken
            if isinstance(error, BufferError):
                raise PublisherFull(
                    f"{self.waiting} events wait for the broker, and no more may: publish {output.event_id} again later"
                ) from error
            if isinstance(error, KafkaException):
                if error.args[0].code() == FATAL:
                    self._on_error(error.args[0])
                raise outcome(failure_of(error.args[0]), output) from error
            raise
        return answer

    def close(self, timeout_ms: int) -> int:
        """Wait for the answers that are missing; how many did not come. The object is of no use afterwards."""
        self._call(self._producer.flush, timeout_ms / 1000)
        self._closing.set()
        self._thread.join()
        remaining = self.waiting
        if remaining:
            self._call(self._producer.purge)
            self._call(self._producer.flush, _POLL_S)
        for answer in tuple(self._unanswered):
            self._answer(answer, AmbiguousOutcome(f"no answer before the end. {_AGAIN}"))
        return remaining

    def _serve(self) -> None:
        while not self._closing.is_set():
            self._call(self._producer.poll, _POLL_S)

    def _call(self, call: Callable[..., Any], *arguments: Any) -> None:
        """What may call back. A fatal error comes out of it as well, and deliveries before and after it."""
        try:
            call(*arguments)
        except KafkaException as error:
            self._on_error(error.args[0])
        except SystemError as error:  # a delivery came in the way of the fatal error
            if self.fatal is None:
                self._on_fatal(Failure(FATAL, "_FATAL", str(error), fatal=True))
        self._tell()

    def _tell(self) -> None:
        for error in _taken(self._errors):
            self._on_error(error)
        for answer, output, failed, message in _taken(self._delivered):
            self._answer(answer, _published(output, message) if failed is None else outcome(failure_of(failed), output))

    def _answer(self, answer: Future[Published], said: Published | TallystickError) -> None:
        self._unanswered.discard(answer)
        if not answer.set_running_or_notify_cancel():
            return  # nobody waits for it any more
        if isinstance(said, Published):
            answer.set_result(said)
        else:
            answer.set_exception(said)

    def _on_error(self, error: KafkaError) -> None:
        failure = failure_of(error)
        if failure.fatal or failure.code == FATAL:
            self._on_fatal(failure)
        else:
            log.info("publisher connection", name=self._name, error=failure.name, text=failure.text)

    def _on_fatal(self, failure: Failure) -> None:
        self.fatal = self.fatal or failure
        log.error("publisher client", name=self._name, error=failure.name, text=failure.text)


def _taken(queue: deque[T]) -> Iterator[T]:
    """All that is there, each taken by one thread."""
    while True:
        try:
            one = queue.popleft()
        except IndexError:
            return
        yield one


def _published(output: Output, message: Any) -> Published:
    return Published(output.event_id, message.topic(), message.partition(), message.offset())


def outcome(failure: Failure, output: Output) -> TallystickError:
    """What a failed delivery tells whoever published: only what is certain is called refused."""
    said = f"{output.topic}, event {output.event_id}: {failure.name}: {failure.text}"
    if failure.code in REFUSALS:
        return EventRefused(said)
    if failure.code in UNKNOWN_TOPICS:
        return ConfigurationError(said, remedy="Create the topic first")
    if classify(failure, Operation.PRODUCE) is ConfigurationError:
        return ConfigurationError(said, remedy="Grant the right, then publish it again")
    return AmbiguousOutcome(f"{said}. {_AGAIN}")
