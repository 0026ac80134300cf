"""A cluster as a tool sees it: its brokers, who coordinates what, who leads which partition.

Owns: the connections, one for each broker, and the patience with a cluster that is starting or electing. Must not know:
what is asked.
"""

from __future__ import annotations

import enum
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self, TypeVar

from tallystick.errors import FatalError, RetriableError
from tallystick.operate.client_settings import ClientSettings
from tallystick.operate.connection import Connection, Disconnected, Versions, refused
from tallystick.wire.errors import ErrorCode, describe

METADATA: Final = Versions("metadata", 10, 12)
FIND_COORDINATOR: Final = Versions("find_coordinator", 4, 5)
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0

T = TypeVar("T")


class TopicPartition(NamedTuple):
    """A partition by the name of its topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


@dataclass(frozen=True, slots=True)
class Topic:
    """``leaders`` is the node id by partition; -1 if it has none now."""

    name: str
    topic_id: uuid.UUID | None
    is_internal: bool
    leaders: dict[int, int]
    replicas: dict[int, tuple[int, ...]]
    in_sync: dict[int, tuple[int, ...]]

    @property
    def partitions(self) -> list[TopicPartition]:
        return [TopicPartition(self.name, index) for index in sorted(self.leaders)]


class CoordinatorOf(enum.IntEnum):
    """FindCoordinator's key types."""

    GROUP = 0
    TRANSACTION = 1


class NotNow(RetriableError):
    """A broker answered with a code that a later answer may not have."""


class UnknownTopic(FatalError):
    """There is no topic of that name, or this user may not see it."""


class Cluster:
    """Opens connections as they are needed, and closes them at the end of its ``with`` block."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._connections: dict[tuple[str, int], Connection] = {}
        self._brokers: dict[int, tuple[str, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        while self._connections:
            self._connections.popitem()[1].close()

    def topics(self, names: Iterable[str] | None = None) -> dict[str, Topic]:
        """By name; all that this user may see for None. ``UnknownTopic`` names the first that is not there."""
        wanted = None if names is None else sorted(set(names))

        def ask() -> dict[str, Topic]:
            connection = self.any_broker()
            parts = None
            if wanted is not None:
                parts = tuple(
                    connection.part(METADATA, "MetadataRequestTopic", name=name, topic_id=None) for name in wanted
                )
            answer = connection.ask(METADATA, topics=parts, allow_auto_topic_creation=False,
                                    include_topic_authorized_operations=False)  # fmt: skip
            self._brokers = {int(row.node_id): (row.host, int(row.port)) for row in answer.brokers}
            return {row.name: _topic(row) for row in answer.topics}

        return self.settled(ask)

    def any_broker(self) -> Connection:
        """The first of the bootstrap servers that answers; ``Disconnected`` if none does."""
        failures = []
        for address in self._settings.addresses():
            try:
                return self._to(address)
            except Disconnected as error:
                failures.append(str(error))
        raise Disconnected("; ".join(failures))

    def first_node(self) -> tuple[int, Connection]:
        """The broker of the lowest node id, by name: some questions are about one broker, and go to it."""
        if not self._brokers:
            self.topics()
        node_id = min(self._brokers)
        return node_id, self._to(self._brokers[node_id])

    def each_broker(self) -> Iterator[Connection]:
        """Every broker of the cluster once."""
        self.topics(())
        for address in list(self._brokers.values()):
            yield self._to(address)

    def coordinator(self, kind: CoordinatorOf, key: str) -> Connection:
        """The broker that coordinates this group or transactional id."""

        def ask() -> Connection:
            connection = self.any_broker()
            (row,) = connection.ask(FIND_COORDINATOR, key_type=kind, coordinator_keys=(key,)).coordinators
            check(row.error_code, f"the coordinator of {kind.name.lower()} {key!r}", row.error_message)
            return self._to((row.host, int(row.port)))

        return self.settled(ask)

    def by_leader(self, partitions: Iterable[TopicPartition]) -> list[tuple[Connection, list[TopicPartition]]]:
        """The partitions, grouped under the broker that leads them; ``NotNow`` if one has no leader."""
        wanted = sorted(set(partitions))
        topics = self.topics(place.topic for place in wanted) if wanted else {}
        grouped: defaultdict[int, list[TopicPartition]] = defaultdict(list)
        for place in wanted:
            leader = topics[place.topic].leaders.get(place.partition)
            if leader is None:
                raise UnknownTopic(f"there is no partition {place}")
            if leader not in self._brokers:
                raise NotNow(f"{place} has no leader now")
            grouped[leader].append(place)
        return [(self._to(self._brokers[leader]), places) for leader, places in grouped.items()]

    def settled(self, ask: Callable[[], T]) -> T:
        """Ask again while the cluster says "not now" or drops the connection, until the timeout of the settings."""
        deadline = time.monotonic() + self._settings.timeout_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return ask()
            except (NotNow, Disconnected) as error:
                if isinstance(error, Disconnected):
                    self.close()
                    if not self._brokers:  # it never answered: more likely a wrong address than a restart
                        raise
                if time.monotonic() + pause_s > deadline:
                    raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _to(self, address: tuple[str, int]) -> Connection:
        connection = self._connections.get(address)
        if connection is None:
            connection = self._connections[address] = Connection(*address, self._settings)
        return connection


def check(code: ErrorCode, what: str, message: str | None = None) -> None:
    """Nothing for no error; ``NotNow`` for a retriable code, ``FatalError`` for another."""
    if code is ErrorCode.none:
        return
    if code is ErrorCode.unknown_topic_or_partition:
        raise UnknownTopic(f"{what}: {describe(int(code))}")
    if code.retriable:
        raise NotNow(f"{what}: {describe(int(code))}")
    raise refused(code, what, message)


def _topic(row: Any) -> Topic:
    check(row.error_code, f"topic {row.name!r}")
    for part in row.partitions:
        if part.error_code is not ErrorCode.leader_not_available:
            check(part.error_code, f"{row.name}-{part.partition_index}")
    return Topic(
        name=row.name,
        topic_id=row.topic_id,
        is_internal=row.is_internal,
        leaders={int(part.partition_index): int(part.leader_id) for part in row.partitions},
        replicas={int(part.partition_index): tuple(map(int, part.replica_nodes)) for part in row.partitions},
        in_sync={int(part.partition_index): tuple(map(int, part.isr_nodes)) for part in row.partitions},
    )
