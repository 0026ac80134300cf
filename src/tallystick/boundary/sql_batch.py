"""One batch of a SQL effect inside one SQL transaction.

Owns: what is asked of the inbox, in which order, and what each record gets for an answer (rule 25). Must not know:
where the transaction begins and ends (``sql_effect``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

import structlog
from sqlalchemy import Connection

from tallystick.boundary import schema, stretches
from tallystick.boundary.erasure.sealing import BatchSeal, Sealing
from tallystick.boundary.handlers import BatchHandler, Handler, Outputs, PerBatch, run_handler
from tallystick.boundary.horizons import Recall, TooOld
from tallystick.boundary.inbox_rows import Arrival, InboxRows, Known, Met, Near, entries
from tallystick.boundary.met_again import Meeting, Positions, meeting
from tallystick.boundary.owner_epoch import OwnerClaim
from tallystick.boundary.statements import insert
from tallystick.boundary.stored_outputs import decode_outputs, encode_outputs
from tallystick.boundary.trail import Trail
from tallystick.errors import RetriableError
from tallystick.killpoints import declare, reach
from tallystick.pipeline.ports import Poisoned
from tallystick.pipeline.records import Output, Record

AFTER_INSERT: Final = declare("inbox.after-insert", "the batch's inbox rows are inserted, nothing else is")

_log = structlog.get_logger(__name__)

_event_id, _topic, _partition, _offset = map(attrgetter, ("event_id", "topic", "partition", "offset"))

Answers = Sequence[tuple[Output, ...] | Poisoned]


@dataclass(slots=True)
class EffectCounts:
    """What this processor met, committed batches only."""

    processed: int = 0
    replayed: int = 0
    """Met again at the same position: work of an aborted or killed cycle."""
    duplicates: int = 0
    """Met again at another position: sent twice."""
    conflicts: int = 0
    """Known id, other body: kept in ``tallystick_inbox_conflict``, not processed (rule 27)."""
    too_old: int = 0
    """Older than the inbox remembers: a verdict instead of outputs."""

    def add(self, other: EffectCounts) -> None:
        self.processed += other.processed
        self.replayed += other.replayed
        self.duplicates += other.duplicates
        self.conflicts += other.conflicts
        self.too_old += other.too_old


@dataclass(frozen=True, slots=True)
class _New:
    """What the new events of a batch came to: outputs by event id, and those that must not be processed."""

    given: Mapping[str, tuple[Output, ...]]
    refused: Mapping[str, TooOld]


@dataclass(frozen=True, slots=True)
class _Again:
    """What of a batch was there already, what was new, and how its bytes are kept."""

    met: Met
    new: _New
    seal: BatchSeal


@dataclass(frozen=True, slots=True)
class BatchOfEvents:
    """What stays the same over the batches of one effect."""

    name: str
    rows: InboxRows
    handler: Handler | BatchHandler | PerBatch
    recall: Recall
    sealing: Sealing

    def run(
        self,
        connection: Connection,
        records: Sequence[Record],
        *,
        now_ms: int,
        look_first: bool,
        trail: Trail,
        owners: Sequence[OwnerClaim],
    ) -> tuple[Answers, EffectCounts]:
        """The answer for each record, in input order.

        ``look_first``: the batch before held nothing new, so that looking saves the insert. Only what is found counts
        as known: a row that is not found may still be on its way, and is inserted (rule 28). ``trail``: where the
        rows of the batch before stood.
        """
        seal = self.sealing.of(connection, records, now_ms=now_ms)
        digests = seal.digests(records)
        positions = Positions.of(records)
        counts, stored = EffectCounts(), list[tuple[str, bytes]]()
        met, new = None, _New({}, {})
        if look_first:
            for owner in owners:
                owner.verify(connection)
            met = self._look(connection, records, digests, where=positions.stretches, trail=trail)
        answers: Answers | None = None
        if met is None:
            arrivals = _arrivals(records, digests)
            entered = self.rows.enter(connection, self.name, arrivals, now_ms=now_ms, owners=owners)
            reach(AFTER_INSERT)
            all_new = len(entered.new) == len(records)  # each is new, and none is there twice
            fresh = records if all_new else _first_of_each(records, entered.new)
            refused = self.recall.too_old(entered.horizons, fresh)
            if refused:
                self.rows.take_back(connection, self.name, sorted(refused))
                fresh = [record for record in fresh if record.event_id not in refused]
            outputs = run_handler(self.handler, connection, fresh) or [()] * len(fresh)
            stored = _encoded(fresh, outputs, seal)
            counts.processed, counts.too_old = len(fresh), len(refused)
            if all_new and not refused:
                answers = outputs
            else:
                new = _New({r.event_id: given for r, given in zip(fresh, outputs, strict=True)}, refused)
                met = self._met(connection, [arrival for arrival in arrivals if arrival[0] not in entered.new])
                trail.at(met.span)
        if answers is None and met is not None:
            again = _Again(met, new, seal)
            answers = self._answers(connection, records, digests, again=again, positions=positions, now_ms=now_ms)
            counts.replayed = positions.count(Meeting.REPLAY)
            counts.duplicates = positions.count(Meeting.DUPLICATE)
            counts.conflicts = positions.count(Meeting.CONFLICT)
        self.rows.finish(connection, self.name, outputs=stored, progress=positions.progress(), now_ms=now_ms)
        return answers or (), counts

    def _look(
        self,
        connection: Connection,
        records: Sequence[Record],
        digests: Sequence[str],
        *,
        where: Sequence[stretches.Stretch],
        trail: Trail,
    ) -> Met | None:
        """What is there, if all of it is: beside the rows of the batch before, and by id what is not."""
        near, rest = Near(), _all(records)
        start = trail.start() if len(where) <= stretches.MOST else None
        if start is not None:
            near = self.rows.near(connection, self.name, where, start=start, most=len(records))
            rest = _not_in(near.entries, records, digests)
            if 2 * len(rest) <= len(records):
                trail.kept()
            else:
                trail.lost()
                near, rest = Near(), _all(records)
        arrivals = _arrivals([records[at] for at in rest], [digests[at] for at in rest])
        met = self.rows.known(connection, self.name, arrivals) if arrivals else Met(0, {})
        if met.found < len(arrivals):
            return None
        trail.at(near.span, met.span)
        return Met(len(records) - len(rest) + met.found, {**near.given, **met.others})

    def _met(self, connection: Connection, old: Sequence[Arrival]) -> Met:
        met = self.rows.known(connection, self.name, old) if old else Met(0, {})
        if met.found < len(old):
            raise RetriableError(f"effect {self.name!r}: rows were forgotten while their events came in again")
        return met

    def _answers(
        self,
        connection: Connection,
        records: Sequence[Record],
        digests: Sequence[str],
        *,
        again: _Again,
        positions: Positions,
        now_ms: int,
    ) -> Answers:
        """What the handler gave just now, what it gave the first time, or the verdict."""
        met, new, seal = again.met, again.new, again.seal
        if met.found == len(records) and not met.others:
            positions.all_replays()
            return [()] * len(records)
        answers: list[tuple[Output, ...] | Poisoned] = []
        first: dict[str, Known] = {}  # of each event in this batch, unless the inbox knows it otherwise
        for record, digest in zip(records, digests, strict=True):
            event_id = record.event_id
            if event_id in new.refused:
                answers.append(Poisoned(record, new.refused[event_id], tries=1))
                continue
            known = met.others.get(event_id) or first.get(event_id)
            if known is None:
                known = Known(event_id, digest, record.topic, record.partition, record.offset, None)
                first[event_id] = known
                if event_id in new.given:
                    answers.append(new.given[event_id])
                    continue
            same_body = seal.is_same_body(connection, record, digest, known.body_hash)
            kind = meeting(record, known, same_body=same_body)
            positions.add(record, kind)
            if kind is Meeting.CONFLICT:
                self._keep_conflict(connection, record, digest, known, seal.refused(record), now_ms)
            # Sent twice, it gives nothing: the first position's own transaction emits the outputs, or has emitted
            # them; its offset does not pass without them.
            answers.append(self._stored(connection, known, seal) if kind is Meeting.REPLAY else ())
        return answers

    def _stored(self, connection: Connection, known: Known, seal: BatchSeal) -> tuple[Output, ...]:
        if known.outputs is None:
            return ()
        raw = seal.opened_outputs(connection, known.event_id, known.outputs)
        if raw is None:
            _log.warning("sql-effect.erased", effect=self.name, event_id=known.event_id)
            return ()
        return decode_outputs(raw, place=f"tallystick_inbox {self.name!r} {known.event_id}")

    def _keep_conflict(
        self, connection: Connection, record: Record, digest: str, known: Known, body: bytes | None, now_ms: int
    ) -> None:
        _log.error(
            "sql-effect.body-conflict",
            effect=self.name,
            event_id=record.event_id,
            place=f"{record.topic}-{record.partition}@{record.offset}",
        )
        table = schema.inbox_conflict
        statement = insert(connection, table).values(
            scope=self.name,
            event_id=record.event_id,
            body_hash=digest,
            first_body_hash=known.body_hash,
            body=body,
            topic=record.topic,
            partition=record.partition,
            record_offset=record.offset,
            times_seen=1,
            first_seen_at_ms=now_ms,
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["scope", "event_id", "body_hash"], set_={"times_seen": table.c.times_seen + 1}
            )
        )


def _each(records: Sequence[Record], digests: Sequence[str]) -> Iterator[Arrival]:
    # Columns and zip take two thirds of what a comprehension of tuples takes.
    ids, topics, partitions, offsets = (map(column, records) for column in (_event_id, _topic, _partition, _offset))
    return zip(ids, digests, topics, partitions, offsets, strict=True)


def _arrivals(records: Sequence[Record], digests: Sequence[str]) -> list[Arrival]:
    """Each event once, sorted by id."""
    ids = list(map(_event_id, records))
    if len(set(ids)) < len(ids):  # of an event twice, the first stands for it
        first = {event_id: at for at, event_id in reversed(list(enumerate(ids)))}
        records, digests = [records[at] for at in first.values()], [digests[at] for at in first.values()]
    return sorted(_each(records, digests))


def _all(records: Sequence[Record]) -> Sequence[int]:
    return range(len(records))


def _not_in(found: frozenset[str], records: Sequence[Record], digests: Sequence[str]) -> Sequence[int]:
    """The places of those records in their batch that are not among the entries ``found``."""
    mine = entries(_each(records, digests))
    return [] if found.issuperset(mine) else [at for at, entry in enumerate(mine) if entry not in found]


def _first_of_each(records: Sequence[Record], new: Collection[str]) -> list[Record]:
    chosen: dict[str, Record] = {}
    for record in records:
        if record.event_id in new:
            chosen.setdefault(record.event_id, record)
    return list(chosen.values())


def _encoded(fresh: Sequence[Record], outputs: Outputs, seal: BatchSeal) -> list[tuple[str, bytes]]:
    """By event id, sorted for the reason that the rows are."""
    encoded = ((record.event_id, encode_outputs(given)) for record, given in zip(fresh, outputs, strict=True) if given)
    return sorted((event_id, seal.outputs(event_id, raw)) for event_id, raw in encoded if raw is not None)
