"""What a read sees, through a record that fails, a transaction that aborts, and a file that follows later."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.unit.pipeline.fakes import event_id

from tallystick.errors import AbortableError, IllegalTransition
from tallystick.pipeline.state import layers as layers_module
from tallystick.pipeline.state.layers import Journal, Layers, end_of, time_of
from tallystick.pipeline.state.local_file import LocalFile, Mark, Origin

MARK = Mark(Origin("c", "t", "topic", 0), 1, None, 0)
KEYS = st.binary(min_size=0, max_size=2)


def value_at(time: int) -> bytes:
    return time.to_bytes(8, "big", signed=True) + b"x"


class Model(RuleBasedStateMachine):
    """Three dictionaries: committed, with the open transaction, with the record that is being processed."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.file = LocalFile(Path(self.folder.name) / "0.sqlite", {"s": True})
        self.journal = Journal()
        self.layers = Layers("s", self.file.base("s"), timed=True, journal=self.journal, flush=self.flush)
        self.journal.begin()
        self.committed: dict[bytes, bytes] = {}
        self.transaction: dict[bytes, bytes] = {}
        self.now: dict[bytes, bytes] = {}

    def flush(self) -> None:
        if self.layers.dirty_count:
            self.file.write([("s", self.layers.dirty(), MARK)])
            self.layers.flushed()

    @rule(key=KEYS, time=st.integers(-3, 20))
    def put(self, key: bytes, time: int) -> None:
        self.now[key] = value_at(time)
        self.layers.set(key, value_at(time))

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        self.now.pop(key, None)
        self.layers.set(key, None)

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        assert self.layers.get(key) == self.now.get(key)

    @rule(prefix=KEYS)
    def scan(self, prefix: bytes) -> None:
        expected = sorted((key, value) for key, value in self.now.items() if key.startswith(prefix))
        assert list(self.layers.scan(prefix, end_of(prefix))) == expected

    @rule(time=st.integers(-3, 20), limit=st.integers(1, 4))
    def due(self, time: int, limit: int) -> None:
        found = sorted((time_of(value), key) for key, value in self.now.items() if time_of(value) <= time)
        assert self.layers.due(time, limit) == [(key, self.now[key]) for _, key in found[:limit]]

    @rule()
    def keep(self) -> None:
        self.transaction = dict(self.now)
        self.journal.keep(event_id("e"))
        self.journal.begin()

    @rule()
    def undo(self) -> None:
        self.now = dict(self.transaction)
        self.journal.undo()
        self.journal.begin()

    @rule()
    def commit(self) -> None:
        self.keep()
        self.committed = dict(self.now)
        self.layers.commit()

    @rule()
    def abort(self) -> None:
        self.now = dict(self.committed)
        self.transaction = dict(self.committed)
        self.journal.undo()
        self.layers.drop()
        self.journal.begin()

    @rule()
    def write_the_file(self) -> None:
        self.flush()

    @invariant()
    def the_changelog_says_what_the_transaction_changed(self) -> None:
        folded = dict(self.committed)
        for key, value in list(self.layers._transaction.items()):
            if value is None:
                folded.pop(key, None)
            else:
                folded[key] = value
        assert folded == self.now

    def teardown(self) -> None:
        self.file.close()
        self.folder.cleanup()


ModelTest = Model.TestCase
ModelTest.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class Nothing:
    """A file without entries."""

    def get(self, key: bytes) -> bytes | None:
        return None

    def scan(self, start: bytes, end: bytes | None) -> list[tuple[bytes, bytes]]:
        return []

    def due(self, time: int, limit: int) -> list[tuple[bytes, bytes]]:
        return []

    def first_time(self) -> int | None:
        return None


def test_a_change_outside_a_record_is_a_bug() -> None:
    layers = Layers("s", Nothing(), timed=False, journal=Journal(), flush=lambda: None)
    with pytest.raises(IllegalTransition):
        layers.set(b"k", b"v")


def test_a_partition_that_was_given_up_is_not_read() -> None:
    layers = Layers("s", Nothing(), timed=False, journal=Journal(), flush=lambda: None)
    layers.closed = True
    with pytest.raises(AbortableError):
        layers.get(b"k")


def test_the_memory_of_what_is_committed_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers_module, "MAX_COMMITTED_ENTRIES", 3)
    layers = Layers("s", Nothing(), timed=False, journal=Journal(), flush=lambda: None)
    for number in range(10):
        layers.get(b"%d" % number)
    assert len(layers._committed) <= 3


def test_the_last_event_that_changed_a_key_stands_beside_it() -> None:
    journal = Journal()
    layers = Layers("s", Nothing(), timed=False, journal=journal, flush=lambda: None)
    for name in ("first", "second"):
        journal.begin()
        layers.set(b"k", name.encode())
        journal.keep(event_id(name))
    journal.begin()
    layers.set(b"k", b"failed")
    journal.undo()
    assert list(layers.changes()) == [(b"k", b"second", event_id("second"))]


def test_what_a_failed_record_let_go_of_is_due_again() -> None:
    journal = Journal()
    layers = Layers("s", Nothing(), timed=True, journal=journal, flush=lambda: None)
    journal.begin()
    layers.set(b"old", value_at(5))
    journal.keep(event_id("e"))
    journal.begin()
    layers.set(b"old", None)
    assert layers.due(10, 1) == []
    journal.undo()
    assert layers.due(10, 1) == [(b"old", value_at(5))]
