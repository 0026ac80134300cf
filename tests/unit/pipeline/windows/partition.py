"""One partition with real state and no Kafka: a step's function is fed events, which commit or are aborted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.unit.pipeline.fakes import event_id

from tallystick.clock import ManualClock
from tallystick.ids import EventId
from tallystick.pipeline import Context, Emit, ErrorPolicy, Topic
from tallystick.pipeline.functions import FunctionProcessor
from tallystick.pipeline.ports import Poisoned
from tallystick.pipeline.records import Output, Record
from tallystick.pipeline.state import AnyStore, Changelog, LaneState, PartitionState
from tallystick.pipeline.state.local_file import Mark, Origin

SOURCE = Topic("in", bytes)


class Partition:
    """``feed`` is one record, ``commit`` and ``abort`` end the transaction; ``committed`` is what counts."""

    def __init__(self, folder: Path, function: Callable[[Any, Context], Any], stores: Iterable[AnyStore]) -> None:
        self._stores = tuple(stores)
        changelogs = [Changelog(store, f"{store.name}.changelog") for store in self._stores]
        self.state = PartitionState(0, changelogs, folder / "0.sqlite", clock=ManualClock(), nonce=b"n" * 16)
        for one in changelogs:
            self.state.apply(one.store, (), Mark(Origin("c", "t", one.topic, 0), 0, None, 0))
        self.lane = LaneState({0: self.state}, lambda _states: None, lambda _number: True)
        self._processor = FunctionProcessor("step", [SOURCE], function, ErrorPolicy(tries=1), self.lane)
        self._offset = 0
        self._fed: list[tuple[bytes, int, bytes, str | None]] = []
        self._pending: list[Output] = []
        self.committed: list[Output] = []
        self.poisoned: list[BaseException] = []
        self.changelog_records = 0

    def feed(
        self, key: bytes, time_ms: int, value: bytes = b"x", *, topic: str = "in", identity: str | None = None
    ) -> list[Output]:
        """What the event makes; nothing if it is poisoned, and ``poisoned`` tells why."""
        made: EventId = event_id(identity or f"{topic}-{self._offset}")
        record = Record(topic, 0, self._offset, key, value, (), time_ms, made)
        self._offset += 1
        result = self._processor.process([record])[0]
        if isinstance(result, Poisoned):
            self.poisoned.append(result.cause)
            return []
        self._pending += result
        return list(result)

    def commit(self) -> None:
        changes = list(self.lane.changes())
        self.changelog_records += len(changes)
        delivered = {(one.topic, one.partition or 0): number for number, one in enumerate(changes)}
        self.lane.commit(delivered)
        self.committed += self._pending
        self._pending = []

    def abort(self) -> None:
        self.lane.drop()
        self._pending = []

    def entries(self, store: AnyStore) -> dict[bytes, bytes]:
        """Everything in a store but its stream time."""
        return {key: value for key, value in self.state.layers(store).scan(b"", None) if key != b"t"}

    def close(self) -> None:
        self.state.close()


def values(outputs: Iterable[Output | Emit]) -> list[bytes]:
    return [one.value or b"" for one in outputs]
