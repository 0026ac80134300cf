"""Events from a program that has no step: a web application, a script.

Owns: ``Publisher`` and ``AsyncPublisher``. Must not know: transactions, SQL, web frameworks.

A publisher writes an event to Kafka and nothing else. What has to stand in a database as well, or not at all, leaves
through the outbox (docs/boundary.md).
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import structlog

from tallystick.errors import AmbiguousOutcome, ConfigurationError
from tallystick.ids import EventId, parse_event_id
from tallystick.pipeline.kafka_client import AcknowledgedProducer, Published
from tallystick.pipeline.records import Headers, Output
from tallystick.pipeline.settings import publisher_settings
from tallystick.pipeline.topics import Topic

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_WAITING: Final = 10_000
CLOSE_TIMEOUT_MS: Final = 30_000

_LEFT_BY_FORKS: Final[list[AcknowledgedProducer]] = []
"""Clients of a parent process. Their threads are not here, so that even letting go of one would wait for ever."""


class Publisher:
    """Publishes events, each under an id that is the same whenever it is published again.

    ``bootstrap`` is ``host:port[,host:port]``; ``settings`` are librdkafka's, and one that contradicts what a
    publisher promises is refused. At most ``max_waiting`` events wait for the broker.

    The client is made by the first event, in the process that publishes it: an object made before a fork may be used
    after it. Any thread may publish. ``close`` waits for what is on its way; so does leaving a ``with`` block.
    """

    def __init__(
        self, bootstrap: str, *, settings: Mapping[str, Any] | None = None, max_waiting: int = MAX_WAITING
    ) -> None:
        if not 1 <= max_waiting <= 10_000_000:
            raise ConfigurationError(f"max_waiting={max_waiting}: 1 to 10,000,000 are possible")
        self._settings = publisher_settings(settings or {}, bootstrap=bootstrap, max_waiting=max_waiting)
        self._lock = threading.Lock()
        self._client: AcknowledgedProducer | None = None
        self._pid = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """Events of this process without an answer."""
        return self._client.waiting if self._client is not None and self._pid == os.getpid() else 0

    def publish(
        self,
        topic: Topic[T],
        event: T | None,
        *,
        event_id: EventId,
        key: str | bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Published:
        """Write one event, and wait until the broker has acknowledged it.

        ``event_id`` names the fact: make it of what makes the event unique (``deterministic_id("order", order.id)``),
        never of the clock or of chance, so that a request that is sent again publishes the same. Raises
        ``PublisherFull`` (nothing was written: try again later), ``AmbiguousOutcome`` (no answer in time: publish it
        again under the same id), ``EventRefused`` (too large or invalid), ``ConfigurationError`` (no such topic, no
        right to write).
        """
        answer = self.submit(
            topic,
            event,
            event_id=event_id,
            key=key,
            headers=headers,
            partition=partition,
            timestamp_ms=timestamp_ms,
        )
        return answer.result()  # librdkafka answers within delivery.timeout.ms

    def submit(
        self,
        topic: Topic[T],
        event: T | None,
        *,
        event_id: EventId,
        key: str | bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Future[Published]:
        """As ``publish``, without the wait: the result of the future is what ``publish`` returns or raises."""
        parse_event_id(event_id.encode())
        raw_key = key.encode() if isinstance(key, str) else key
        value = None if event is None else topic.encode(event)
        return self._ready().send(Output(topic.name, raw_key, value, event_id, headers, partition, timestamp_ms))

    def close(self, timeout_ms: int = CLOSE_TIMEOUT_MS) -> None:
        """Wait for the answers that are missing; ``AmbiguousOutcome`` if some do not come. Nothing follows it."""
        with self._lock:
            self._closed = True
            client, self._client = self._client, None
            if client is None or self._pid != os.getpid():
                return
            missing = client.close(timeout_ms)
        if missing:
            raise AmbiguousOutcome(f"{missing} events were not acknowledged within {timeout_ms} ms of the end")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ready(self) -> AcknowledgedProducer:
        client = self._client
        if client is not None and client.fatal is None and self._pid == os.getpid():
            return client
        with self._lock:
            return self._made()

    def _made(self) -> AcknowledgedProducer:
        if self._closed:
            raise ConfigurationError("the publisher is closed", remedy="Close it after the last request")
        client, own = self._client, self._pid == os.getpid()
        if client is not None and own and client.fatal is None:
            return client
        if client is not None and not own:
            _LEFT_BY_FORKS.append(client)
        elif client is not None:
            log.warning("publisher client replaced", why=str(client.fatal))
            client.close(0)  # what waits in it is answered: not known
        self._client, self._pid = AcknowledgedProducer(self._settings), os.getpid()
        return self._client


class AsyncPublisher:
    """``Publisher`` for a program with an event loop: ``await publisher.publish(...)``, ``async with``.

    Librdkafka waits in threads of its own, so that no event waits for another, and the loop for none.
    """

    def __init__(
        self, bootstrap: str, *, settings: Mapping[str, Any] | None = None, max_waiting: int = MAX_WAITING
    ) -> None:
        self._publisher = Publisher(bootstrap, settings=settings, max_waiting=max_waiting)

    @property
    def waiting(self) -> int:
        """Events of this process without an answer."""
        return self._publisher.waiting

    async def publish(
        self,
        topic: Topic[T],
        event: T | None,
        *,
        event_id: EventId,
        key: str | bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Published:
        """As ``Publisher.publish``. A task that is cancelled while it waits may have published."""
        answer = self._publisher.submit(
            topic,
            event,
            event_id=event_id,
            key=key,
            headers=headers,
            partition=partition,
            timestamp_ms=timestamp_ms,
        )
        return await asyncio.wrap_future(answer)

    async def close(self, timeout_ms: int = CLOSE_TIMEOUT_MS) -> None:
        """As ``Publisher.close``, beside the loop."""
        await asyncio.to_thread(self._publisher.close, timeout_ms)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
