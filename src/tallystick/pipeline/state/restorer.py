"""The thread that reads changelogs: it brings each partition's state to the end of what Kafka committed.

Owns: ``Restorer``, and how far each restoration is. Must not know: who polls, transactions of ours.

A state is complete when everything is read that lay below the changelog's high watermark when its restoration began.
Reading goes up to the last stable offset only; so a transaction of a former owner that is still open is waited for.
Its offsets may be committed already while its marker in the changelog is not written: state that stopped at the last
stable offset of that moment would miss it.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from tallystick.killpoints import declare, reach
from tallystick.pipeline.kafka_client import Cluster, Followed, Follower, Partition
from tallystick.pipeline.patience import GaveUp, Patience
from tallystick.pipeline.state.changelogs import Changelog
from tallystick.pipeline.state.local_file import Mark, Origin, Proof
from tallystick.pipeline.state.partition_state import PROOF_HEADER, PartitionState
from tallystick.pipeline.state.resume import proves, resume

log = structlog.get_logger(__name__)

RESTORING: Final = declare("state.restoring", "a part of a changelog is in the local file")

_LOOK_S: Final = 0.1
_SAY_INTERVAL_MS: Final = 2_000
_WAIT_LIMIT_MS: Final = 120_000
"""For a transaction of somebody else that stays open in a changelog."""


@dataclass(slots=True)
class _Reading:
    """One changelog partition on its way to ``target``."""

    changelog: Changelog
    origin: Origin
    offset: int
    log_start: int
    target: int
    expected: Proof | None
    proof: Proof | None
    why: str
    records: int = 0
    done: bool = False


@dataclass(slots=True)
class Restoration:
    """One partition's state on its way. ``over`` is set when it is complete, dropped or failed."""

    state: PartitionState
    over: threading.Event = field(default_factory=threading.Event)
    readings: dict[Partition, _Reading] = field(default_factory=dict)
    began_ms: int = 0
    moved_ms: int = 0
    said_ms: int = 0
    complete: bool = False

    @property
    def offsets(self) -> tuple[int, int]:
        """Offsets read, of those to be read."""
        readings = list(self.readings.values())
        read = sum(max(0, one.offset - one.log_start) for one in readings)
        return read, sum(max(0, one.target - one.log_start) for one in readings)


class Restorer:
    """One thread for a step; it begins with the first restoration and ends with ``close``."""

    def __init__(
        self,
        step: str,
        cluster_id: str,
        cluster: Cluster,
        patience: Patience,
        make_follower: Callable[[], Follower],
    ) -> None:
        self._step = step
        self._cluster_id = cluster_id
        self._cluster = cluster
        self._patience = patience
        self._make_follower = make_follower
        self._changed = threading.Condition()
        self._asked: list[Restoration] = []
        self._running: dict[int, Restoration] = {}
        self._follower: Follower | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self.raised: BaseException | None = None
        self.records = 0
        """Read from changelogs so far."""

    # -- other threads

    def restore(self, state: PartitionState) -> Restoration:
        """Begin; look at ``complete`` when ``over`` is set."""
        restoration = Restoration(state)
        with self._changed:
            if self._closed or self.raised is not None:
                restoration.over.set()
                return restoration
            self._asked.append(restoration)
            if self._thread is None:
                context = contextvars.copy_context()  # so that its log lines name slot and pid
                self._thread = threading.Thread(
                    target=context.run, args=(self._run,), name=f"{self._step}-restorer", daemon=True
                )
                self._thread.start()
            self._changed.notify()
        return restoration

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    # -- the thread

    def _run(self) -> None:
        try:
            while self._take():
                self._read()
        except BaseException as error:  # noqa: BLE001  # the thread's edge: kept, and raised by the polling thread
            self.raised = error
        finally:
            if self._follower is not None:
                self._follower.close()
            with self._changed:
                left = [*self._running.values(), *self._asked]
                self._closed = True
            for one in left:
                one.over.set()

    def _take(self) -> bool:
        """Begin what is asked for; whether to go on. Waits while there is nothing to do."""
        for one in list(self._running.values()):
            if one.state.closed:
                self._end(one)
        if not self._running and self._follower is not None:
            self._follower.close()
            self._follower = None
        with self._changed:
            while not self._asked and not self._running and not self._closed:
                self._changed.wait()
            asked, self._asked = self._asked, []
            if self._closed:
                for one in asked:
                    one.over.set()
                return False
        self._begin([one for one in asked if not one.state.closed])
        for one in asked:
            if one.state.closed:
                one.over.set()
        return True

    def _begin(self, asked: Sequence[Restoration]) -> None:
        if not asked:
            return
        places = [(changelog.topic, one.state.number) for one in asked for changelog in one.state.changelogs]
        facts = self._patience.call("changelogs", lambda: self._cluster.topics({topic for topic, _ in places}))
        bounds = self._patience.call("ends of changelogs", lambda: self._cluster.bounds(places))
        starts: dict[Partition, int] = {}
        for one in asked:
            self._running[id(one)] = one
            one.state.settle()
            one.began_ms = one.moved_ms = one.said_ms = self._patience.clock.monotonic_ms()
            for changelog in one.state.changelogs:
                place = (changelog.topic, one.state.number)
                if changelog.topic not in facts:
                    raise GaveUp(f"changelog {changelog.topic} is gone")
                origin = Origin(self._cluster_id, facts[changelog.topic].topic_id, *place)
                one.readings[place] = self._reading(one.state, changelog, origin, bounds[place])
                starts[place] = one.readings[place].offset
        follower = self._follower = self._follower or self._make_follower()
        follower.follow(starts)

    def _reading(
        self, state: PartitionState, changelog: Changelog, origin: Origin, bounds: tuple[int, int]
    ) -> _Reading:
        log_start, high_watermark = bounds
        decided = resume(
            state.mark(changelog.store),
            origin,
            log_start=log_start,
            high_watermark=high_watermark,
            now_ms=self._patience.clock.now_ms(),
            tombstones_kept_ms=changelog.tombstones_kept_ms,
        )
        if decided.proof is None:
            state.clear(changelog.store)
        return _Reading(
            changelog,
            origin,
            decided.offset,
            log_start,
            high_watermark,
            expected=decided.proof,
            proof=decided.proof,
            why=decided.why,
        )

    def _read(self) -> None:
        if self._follower is None:
            return
        found = self._follower.look(_LOOK_S)
        for one in list(self._running.values()):
            for place, reading in one.readings.items():
                if one.state.closed:
                    break
                if (records := found.records.get(place)) is not None:
                    self._apply(one, reading, place, records)
                if place in found.out_of_range:
                    self._rebuild(one, reading, place, "the changelog does not reach the copy")
                elif (end := found.ends.get(place)) is not None:
                    self._at_end(one, reading, place, end)
            self._look_after(one)

    def _apply(self, one: Restoration, reading: _Reading, place: Partition, records: Followed) -> None:
        first, count = 0, len(records.offsets)
        if reading.expected is not None:
            if not proves(reading.expected, records.offsets[0], _token(records.headers(0))):
                self._rebuild(one, reading, place, f"the changelog has another record at {reading.expected.offset}")
                return
            reading.expected = None
            first = 1
        if first == count:
            return
        for index in range(count - 1, first - 1, -1):
            if (token := _token(records.headers(index))) is not None:
                reading.proof = Proof(records.offsets[index], token)
                break
        reading.offset = records.offsets[-1] + 1
        reading.records += count - first
        self.records += count - first
        pairs = zip(records.keys[first:], records.values[first:], strict=True)
        entries = [(key, value) for key, value in pairs if key is not None]
        one.state.apply(reading.changelog.store, entries, self._mark(reading))
        one.moved_ms = self._patience.clock.monotonic_ms()
        reach(RESTORING)

    def _at_end(self, one: Restoration, reading: _Reading, place: Partition, end: int) -> None:
        """No committed record is left at ``end``: complete, or an open transaction begins there."""
        if reading.expected is not None:
            self._rebuild(one, reading, place, f"the changelog has no record at {reading.expected.offset} any more")
        elif end >= reading.target:
            reading.done = True
            reading.offset = end

    def _rebuild(self, one: Restoration, reading: _Reading, place: Partition, why: str) -> None:
        if self._follower is None:
            return
        log.warning("state is rebuilt", step=self._step, store=reading.changelog.store.name, place=place, why=why)
        one.state.clear(reading.changelog.store)
        log_start, reading.target = self._patience.call("ends", lambda: self._cluster.bounds([place]))[place]
        reading.expected = reading.proof = None
        reading.why = why
        reading.offset = reading.log_start = log_start
        self._follower.leave([place])
        self._follower.follow({place: log_start})

    def _look_after(self, one: Restoration) -> None:
        now_ms = self._patience.clock.monotonic_ms()
        if one.state.closed or self._closed:
            self._end(one)
        elif all(reading.done for reading in one.readings.values()):
            for reading in one.readings.values():
                one.state.apply(reading.changelog.store, (), self._mark(reading))
            one.complete = True
            self._end(one)
            read = {reading.changelog.store.name: reading.records for reading in one.readings.values()}
            why = {reading.changelog.store.name: reading.why for reading in one.readings.values()}
            log.info(
                "state restored",
                step=self._step,
                partition=one.state.number,
                records=read,
                why=why,
                took_ms=now_ms - one.began_ms,
            )
        elif now_ms - one.moved_ms > _WAIT_LIMIT_MS:
            raise GaveUp(
                f"step {self._step!r}: nothing more comes from the changelogs of partition {one.state.number}: "
                f"{ {place: (reading.offset, reading.target) for place, reading in one.readings.items()} } "
                "(offset, end). A transaction may be open there: 'tallystick txn list' shows it"
            )
        elif now_ms - one.said_ms >= _SAY_INTERVAL_MS:
            one.said_ms = now_ms
            read_offsets, of = one.offsets
            log.info(
                "restoring state", step=self._step, partition=one.state.number, offsets=read_offsets, of_offsets=of
            )

    def _end(self, one: Restoration) -> None:
        if self._follower is not None and one.readings:
            self._follower.leave(one.readings)
        self._running.pop(id(one), None)
        one.over.set()

    def _mark(self, reading: _Reading) -> Mark:
        return Mark(reading.origin, reading.offset, reading.proof, 0)


def wait_for(restoration: Restoration, restorer: Restorer, patience: Patience) -> bool:
    """Wait in another thread until it is over; whether the state is complete. Raises what ended the restorer."""
    while not restoration.over.wait(_LOOK_S):
        if patience.stop.is_set():
            return False
    if restorer.raised is not None:
        raise GaveUp(f"state was not restored: {restorer.raised}") from restorer.raised
    return restoration.complete


def _token(headers: Sequence[tuple[str, bytes]] | None) -> bytes | None:
    if headers:
        for name, value in headers:
            if name == PROOF_HEADER:
                return value
    return None
