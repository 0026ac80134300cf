"""Producers of one transactional id, played against its model: every answer and every visible record must be as told.

Owns: who of the players believes what. Must not know: which broker answers, what order of steps a test takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tests.support.transaction_model import Identity, TransactionalId
from tests.support.wire_producer import TV1, TV2, Asks, WireProducer, log_of

PARTITIONS: Final = 2


@dataclass
class Players:
    """The instances that were ever started with this transactional id; all but the last are zombies sooner or later."""

    client: Asks
    transactional_id: str
    topic: str
    group: str
    model: TransactionalId
    producers: list[WireProducer] = field(default_factory=list)
    before: dict[int, Identity] = field(default_factory=dict)
    """Who a player was before its last EndTxn or InitProducerId, by its place in ``producers``."""
    written: int = 0

    def connect(self, client: Asks) -> None:
        """All talk to this one from now on."""
        self.client = client
        for producer in self.producers:
            producer.client = client

    def newcomer(self, version: int, *, patient: bool = True) -> WireProducer:
        return WireProducer(self.client, self.transactional_id, dict(TV2 if version == 2 else TV1), patient=patient)

    def player(self, choice: int) -> int:
        """A place in ``producers``: often the newest, whose steps do something."""
        newest = len(self.producers) - 1
        return newest if choice % 2 else choice // 2 % len(self.producers)

    # --- steps --------------------------------------------------------------------------------------------------------

    def start(self, version: int) -> None:
        """A new instance takes over."""
        self.producers.append(self.newcomer(version))
        self._init(len(self.producers) - 1, named=None)

    def reinitialise(self, place: int) -> None:
        """An instance names itself (KIP-360)."""
        self._init(place, named=self.producers[place].owner)

    def repeat_initialisation(self, place: int) -> None:
        """The answer was lost: the same request again, which must not cost the producer what it got."""
        producer = self.producers[place]
        owner, sequences = producer.owner, dict(producer.sequences)
        if self.before[place][0] >= 0:
            producer.producer_id, producer.producer_epoch = self.before[place]
            self._init(place, named=self.before[place])
            if producer.owner in (owner, self.before[place]):  # the same answer again, or none
                producer.producer_id, producer.producer_epoch = owner
                producer.sequences = sequences

    def _init(self, place: int, named: Identity | None) -> None:
        producer = self.producers[place]
        was = producer.owner
        answered = producer.init(named=named is not None)
        expected = self.model.init(named, fresh=producer.producer_id)
        assert answered == expected, (named, self.model)
        if expected == "none":
            assert producer.owner == self.model.me, (named, self.model)
            self.before[place] = was if named is None or named == was else named

    def next_value(self) -> bytes:
        """What the next record will have in it."""
        return b"%d" % self.written

    def write(self, place: int, partition: int) -> None:
        """One record; a player of version 1 asks for the partition first."""
        producer, value = self.producers[place], self.next_value()
        self.written += 1
        expected = self.model.write(producer.owner, partition, value)
        if producer.versions == TV1:
            (answered,) = producer.add_partitions(self.topic, partition)
            if answered == "producer_fenced":
                answered = "invalid_producer_epoch"
            if answered == "none":
                answered = producer.produce(self.topic, value, partition=partition)[0]
        else:
            answered = producer.produce(self.topic, value, partition=partition)[0]
        if expected == "invalid_producer_id_mapping":  # the partition, too, may know the epoch of who was replaced
            assert answered in {expected, "invalid_producer_epoch"}, self.model
        else:
            assert answered == expected, self.model

    def commit_offset(self, place: int, offset: int) -> None:
        producer = self.producers[place]
        expected = self.model.offset(producer.owner, offset)
        if producer.versions == TV1:
            answered = producer.add_offsets(self.group)
            if answered == "producer_fenced":
                answered = "invalid_producer_epoch"
            if answered == "none":
                answered = producer.commit_offset(self.group, self.topic, offset)
        else:
            answered = producer.commit_offset(self.group, self.topic, offset)
        if expected == "invalid_producer_id_mapping":
            assert answered in {expected, "invalid_producer_epoch"}, self.model
        else:
            assert answered == expected, self.model

    def end(self, place: int, *, commit: bool) -> None:
        producer, was = self.producers[place], self.producers[place].owner
        version = 2 if producer.versions == TV2 else 1
        answered = producer.end(commit=commit)
        expected = self.model.end(was, commit=commit, version=version, fresh=producer.producer_id)
        assert answered == expected, (was, self.model)
        if expected == "none" and version == 2:
            assert producer.owner == self.model.me, (was, self.model)
            self.before[place] = was

    def end_late(self, place: int, *, commit: bool) -> None:
        """An EndTxn of the player's past arrives, or arrives again; nobody waits for the answer."""
        if self.before[place][0] >= 0:
            now = self.producers[place]
            late = WireProducer(self.client, self.transactional_id, now.versions)
            late.take(*self.before[place])
            version = 2 if now.versions == TV2 else 1
            answered = late.end(commit=commit)
            expected = self.model.end(self.before[place], commit=commit, version=version, fresh=late.producer_id)
            assert answered == expected, (self.before[place], self.model)
            assert expected != "none" or version == 1 or late.owner == self.model.me

    # --- what there is to see -----------------------------------------------------------------------------------------

    def visible(self) -> list[list[bytes | None]]:
        """What a read-committed reader gets of each partition: the plain rule over the whole log."""
        return [self._visible(partition) for partition in range(PARTITIONS)]

    def _visible(self, partition: int) -> list[bytes | None]:
        pending: dict[int, list[bytes | None]] = {}
        seen: list[bytes | None] = []
        for kind, producer_id, _, value in log_of(self.client, self.topic, partition=partition):
            if kind == "data":
                pending.setdefault(producer_id, []).append(value)
            else:
                seen += pending.pop(producer_id, []) if kind == "commit" else []
                pending.pop(producer_id, None)
        return seen

    def check_visible(self) -> None:
        expected = [[value for place, value in self.model.visible if place == index] for index in range(PARTITIONS)]
        assert self.visible() == expected, self.model
