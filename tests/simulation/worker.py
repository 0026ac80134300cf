"""A worker: the real cycle, one step at a time, over requests that may be lost on the way there or back.

Owns: what ``ExactlyOnce`` does with the client, written out so that anything may happen between two steps: membership,
positions, the producer and its sequences. Must not know: the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, TypeVar

from tests.simulation.broker import GROUP, SINKS, SOURCE, Broker

from tallystick.broker.groups.classic import joining, staying, syncing
from tallystick.broker.groups.classic.members import Join, JoinReply, Reply, Sync, SyncReply
from tallystick.broker.groups.records import CommittedOffset
from tallystick.broker.groups.requests.offsets import Committer
from tallystick.errors import IllegalTransition
from tallystick.pipeline.cycle import FINAL_PHASES, OPEN_PHASES, Action, Cycle, Event
from tallystick.wire.errors import ErrorCode

T = TypeVar("T")

SESSION_MS: Final = 10_000
TRANSACTION_MS: Final = 8_000
BATCH: Final = 3
_RETRIES: Final = 2
_WAITS_MAX: Final = 25


class Lost(Exception):
    """No answer came: the request was done, or it was not, or it will be."""


class Network(Protocol):
    """``call`` does it and answers, or raises ``Lost`` before or after doing it, or does it later."""

    def call(self, broker: Broker, do: Callable[[], T]) -> T: ...

    def next_ticket(self) -> int: ...


class Worker:
    """One process of a slot. ``rules`` may take one out, so that the checkers are seen to object."""

    def __init__(self, slot: str, number: int, network: Network, broken: str = "") -> None:
        self.slot = slot
        self.number = number
        self.name = f"{slot}#{number}"
        self.network = network
        self.broken = broken
        self.cycle = Cycle()
        self.member_id = ""
        self.generation = -1
        self.ticket: int | None = None
        self.waited = 0
        self.asked = ""
        self.assigned: tuple[int, ...] = ()
        self.positions: dict[int, int] = {}
        self.batch: list[tuple[int, int, bytes, str]] = []
        self.outputs: dict[tuple[str, int], list[tuple[bytes, str]]] = {}
        self.producer: tuple[int, int] | None = None
        self.sequences: dict[tuple[str, int], int] = {}
        self.connection = 0
        self.incarnation = 0
        self.deadline_ms = 0
        self.committed = 0

    @property
    def is_done(self) -> bool:
        return self.cycle.phase in FINAL_PHASES

    @property
    def transactional_id(self) -> str:
        return self.slot

    # -- membership

    def hear(self, reply: Reply, broker: Broker) -> bool:
        """An answer to a request of ours that waited; whether it was ours."""
        if reply.ticket != self.ticket:
            return False
        self.ticket = None
        if isinstance(reply, JoinReply):
            self._joined(reply, broker)
        elif isinstance(reply, SyncReply):
            self._synced(reply)
        return True

    def _joined(self, reply: JoinReply, broker: Broker) -> None:
        if reply.error is not ErrorCode.none:
            self._forget_membership(reply.error)
            return
        self.member_id, self.generation = reply.member_id, reply.generation_id
        plan: tuple[tuple[str, bytes], ...] = ()
        if reply.leader_id == reply.member_id and reply.members:
            ids = sorted(member.member_id for member in reply.members)
            shares: dict[str, list[int]] = {member_id: [] for member_id in ids}
            for partition in range(broker.partitions):
                shares[ids[partition % len(ids)]].append(partition)
            plan = tuple((member_id, bytes(share)) for member_id, share in shares.items())
        ticket = self.ticket = self.network.next_ticket()
        self.asked = "sync"
        request = Sync(
            member_id=self.member_id,
            group_instance_id=self.slot,
            generation_id=self.generation,
            assignments=plan,
        )
        self._ask(broker, lambda: syncing.sync(broker.group(), request, ticket, broker.clock.monotonic_ms()))

    def _synced(self, reply: SyncReply) -> None:
        if reply.error is not ErrorCode.none:
            self._forget_membership(reply.error)
            return
        self.asked = ""
        self.assigned, self.positions = tuple(reply.assignment), {}
        self._changed(Event.ASSIGNED)

    def _forget_membership(self, error: ErrorCode) -> None:
        self.asked = ""
        if error is ErrorCode.fenced_instance_id:
            self.cycle = self.cycle.after(Event.FENCED) if self._may(Event.FENCED) else self.cycle
            return
        if error is ErrorCode.unknown_member_id:
            self.member_id = ""
        self.generation = -1
        if self.cycle.assigned:
            self._changed(Event.LOST)
        self.assigned = ()

    def _changed(self, event: Event) -> None:
        if not self.is_done:
            self.cycle = self.cycle.after(event)
            if self.cycle.phase not in OPEN_PHASES and self.cycle.transaction_epoch is None:
                self.batch = []

    def _may(self, event: Event) -> bool:
        try:
            self.cycle.after(event)
        except IllegalTransition:
            return False
        return True

    def tend_membership(self, broker: Broker) -> None:
        """Join, or a heartbeat."""
        if self.incarnation != broker.incarnation:  # what waited there is gone with it
            self.incarnation, self.ticket, self.asked = broker.incarnation, None, ""
        if self.ticket is not None:
            self.waited += 1
            if self.waited < _WAITS_MAX:
                return
            self.ticket, self.generation = None, -1  # a request that is never answered: its own timeout
        self.waited = 0
        if self.generation < 0 or not self.cycle.assigned:
            ticket = self.ticket = self.network.next_ticket()
            self.asked = "join"
            request = Join(
                member_id=self.member_id,
                fresh_member_id=f"{self.name}-{ticket}",
                group_instance_id=self.slot,
                client_id=self.slot,
                client_host="",
                session_timeout_ms=SESSION_MS,
                rebalance_timeout_ms=SESSION_MS,
                protocol_type="consumer",
                protocols=(("range", b""),),
                requires_known_member_id=False,
                supports_skipping_assignment=False,
            )
            self._ask(broker, lambda: joining.join(broker.group(), request, ticket, broker.clock.monotonic_ms()))
            return
        try:
            error = self.network.call(
                broker,
                lambda: staying.heartbeat(
                    broker.group(), self.member_id, self.slot, self.generation, broker.clock.monotonic_ms()
                ),
            )
        except Lost:
            return
        if error is ErrorCode.rebalance_in_progress:
            self._changed(Event.REVOKED)
            self.assigned = ()
        elif error is not ErrorCode.none:
            self._forget_membership(error)

    def _ask(self, broker: Broker, do: Callable[[], None]) -> None:
        try:
            self.network.call(broker, do)
        except Lost:
            self.ticket, self.asked = None, ""

    # -- the cycle

    def step(self, broker: Broker) -> None:
        """One action of the cycle."""
        performers: dict[Action, Callable[[Broker], None]] = {
            Action.REINITIALISE: self._reinitialise,
            Action.REWIND: self._rewind,
            Action.POLL: self._poll,
            Action.BEGIN: self._begin,
            Action.PROCESS: self._process,
            Action.PRODUCE: self._produce,
            Action.SEND_OFFSETS: self._send_offsets,
            Action.COMMIT: self._commit,
            Action.ABORT: self._abort,
        }
        perform = performers.get(self.cycle.action)
        if perform is not None:
            perform(broker)

    def _to(self, event: Event) -> None:
        self.cycle = self.cycle.after(event)

    def _refused(self, error: ErrorCode) -> None:
        if error in {ErrorCode.producer_fenced, ErrorCode.invalid_producer_epoch}:
            self._lose_producer()
        else:
            self._to(Event.FAILED)

    def _lose_producer(self) -> None:
        self.producer = None
        self.connection += 1
        self._to(Event.PRODUCER_LOST)

    def _reinitialise(self, broker: Broker) -> None:
        if not self._holds_slot(broker):
            self._to(Event.FENCED)
            return
        connection = self.connection = self.connection + 1
        try:
            found = self.network.call(
                broker,
                lambda: broker.transactions.init_producer_id(
                    self.transactional_id, timeout_ms=TRANSACTION_MS, connection_id=self._connection_id(connection)
                ),
            )
        except Lost:
            return
        if found.error is ErrorCode.none:
            self.producer, self.sequences = (found.producer_id, found.producer_epoch), {}
            self._to(Event.PRODUCER_READY)

    def _holds_slot(self, broker: Broker) -> bool:
        """As the runtime asks: who is the static member of this slot? Nobody is no refusal."""
        if self.cycle.epoch == 0:
            return True
        holder = broker.group().static_ids.get(self.slot)
        return holder is None or holder == self.member_id

    def _connection_id(self, connection: int) -> int | None:
        """Unlike any other's; None hides from the broker that a request came late, on a connection of before."""
        return None if self.broken == "late-requests" else self.number * 1_000_000 + connection

    def _rewind(self, broker: Broker) -> None:
        self.batch, self.outputs = [], {}
        if self.broken == "no-rewind" and self.positions:
            self._to(Event.REWOUND)
            return
        if self._positioned(broker):
            self._to(Event.REWOUND)

    def _positioned(self, broker: Broker) -> bool:
        """Positions are the committed offsets; not while a transaction may still change one (rule 3)."""
        wanted = [(SOURCE, partition) for partition in self.assigned]
        try:
            rows = self.network.call(broker, lambda: broker.groups.offsets.fetch(GROUP, wanted, require_stable=True))
        except Lost:
            return False
        if any(row.error is not ErrorCode.none for row in rows):
            return False
        self.positions = {row.partition: max(0, row.offset) for row in rows}
        return True

    def _poll(self, broker: Broker) -> None:
        if set(self.positions) != set(self.assigned) and not self._positioned(broker):
            return
        batch: list[tuple[int, int, bytes, str]] = []
        for partition in self.assigned:
            start = self.positions.get(partition, 0)
            for offset, (key, identity) in broker.logs[SOURCE, partition].visible():
                if offset >= start and len(batch) < BATCH:
                    batch.append((partition, offset, key, identity))
        if batch:
            self.batch = batch
            for partition, offset, _, _ in batch:
                self.positions[partition] = offset + 1
            self._to(Event.POLLED)

    def _begin(self, broker: Broker) -> None:
        self.deadline_ms = broker.clock.monotonic_ms() + TRANSACTION_MS
        self._to(Event.BEGAN)

    def _process(self, broker: Broker) -> None:
        self.outputs = {}
        for _, _, key, identity in self.batch:
            place = key[0] % broker.partitions
            for ordinal, sink in enumerate(SINKS):
                self.outputs.setdefault((sink, place), []).append((key, f"{identity}/{ordinal}"))
        self._to(Event.PROCESSED)

    def _produce(self, broker: Broker) -> None:
        producer = self._owner()
        for place, values in self.outputs.items():
            error = self._insist(
                broker,
                lambda connection_id, place=place: broker.transactions.add_partitions(  # type: ignore[misc]
                    self.transactional_id, *producer, [place], connection_id=connection_id
                ),
            )
            if error is ErrorCode.none:
                sequence = self.sequences.get(place, 0)
                error = self._insist(
                    broker,
                    lambda _, place=place, sequence=sequence, values=values: broker.produce(  # type: ignore[misc]
                        self.transactional_id, producer, place, sequence, tuple(values)
                    ),
                )
                self.sequences[place] = sequence + len(values)
            if error is None:
                self._lose_producer()  # librdkafka would abort and raise its epoch; a new producer is no less
                return
            if error is not ErrorCode.none:
                self._refused(error)
                return
        self._to(Event.PRODUCED)

    def _insist(self, broker: Broker, do: Callable[[int | None], ErrorCode]) -> ErrorCode | None:
        """As librdkafka does: after a time-out the connection is closed, and the request goes out on a new one."""
        for _ in range(_RETRIES):
            connection_id = self._connection_id(self.connection)
            try:
                return self.network.call(broker, partial(do, connection_id))
            except Lost:
                self.connection += 1
        return None

    def _send_offsets(self, broker: Broker) -> None:
        if broker.clock.monotonic_ms() >= self.deadline_ms:
            self._lose_producer()
            return
        producer = self._owner()
        offsets: dict[int, int] = {}
        for partition, offset, _, _ in self.batch:
            offsets[partition] = max(offsets.get(partition, 0), offset + 1)
        rows = [CommittedOffset(SOURCE, partition, offset) for partition, offset in offsets.items()]
        committer = Committer(member_id=self.member_id, group_instance_id=self.slot, generation_id=self.generation)
        if self.broken == "unfenced":
            committer = Committer()

        def commit(connection_id: int | None) -> ErrorCode:
            error = broker.transactions.admit_offsets(
                self.transactional_id, *producer, GROUP, transaction_version=0, connection_id=connection_id
            )
            if error is not ErrorCode.none:
                return error
            errors = broker.groups.offsets.commit_in_transaction(
                GROUP, committer, rows, producer_id=producer[0], producer_epoch=producer[1]
            )
            return next((error for error in errors.values() if error is not ErrorCode.none), ErrorCode.none)

        error = self._insist(
            broker,
            lambda connection_id: broker.transactions.add_group(
                self.transactional_id, *producer, GROUP, connection_id=connection_id
            ),
        )
        if error is ErrorCode.none:
            error = self._insist(broker, commit)
        if error is None:
            self._lose_producer()
        elif error is not ErrorCode.none:
            self._refused(error)
        else:
            self._to(Event.OFFSETS_SENT)

    def _commit(self, broker: Broker) -> None:
        if broker.clock.monotonic_ms() >= self.deadline_ms:
            self._lose_producer()
            return
        producer = self._owner()
        self._to(Event.END_REQUESTED)
        error = self._end(broker, producer, commit=True)
        if error is ErrorCode.none:
            self.committed += 1
            self.batch = []
            self._to(Event.COMMITTED)
        else:
            self._lose_producer()  # rule 15: without a clear answer it is neither

    def _abort(self, broker: Broker) -> None:
        error = self._end(broker, self._owner(), commit=False)
        if error is ErrorCode.none:
            self._to(Event.ABORTED)
        else:
            self._lose_producer()

    def _end(self, broker: Broker, producer: tuple[int, int], *, commit: bool) -> ErrorCode | None:
        connection_id = self._connection_id(self.connection)
        try:
            return self.network.call(
                broker,
                lambda: (
                    broker.transactions.end(
                        self.transactional_id, *producer, commit=commit, connection_id=connection_id
                    ).error
                ),
            )
        except Lost:
            return None

    def _owner(self) -> tuple[int, int]:
        if self.producer is None:
            raise RuntimeError("a step without a producer")
        return self.producer
