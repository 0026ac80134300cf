"""The broker's transactions against a model that is written without them, over full disks and crashes at any write.

The node is a real one, with its logs and journals in a folder, spoken to in bytes; only sockets are missing. A crash is
a copy of the folder as it is at that moment, opened anew.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from structlog.testing import capture_logs
from tests.support.transaction_model import TransactionalId
from tests.support.transaction_players import PARTITIONS, Players
from tests.support.wire_producer import TV2
from tests.unit.broker.in_process import InProcess, opened

from tallystick.broker.node import Node
from tallystick.clock import ManualClock

TIMEOUT_MS = 60_000
FAST_FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - the parent of a folder of our own
"""Many small folders are made and synced here, and no power fails."""
NEARLY_EXHAUSTED = 32_765


class DiskFull:
    """So many more appends succeed."""

    def __init__(self, appends: int) -> None:
        self.appends = appends

    def __call__(self, _size_bytes: int) -> None:
        if self.appends <= 0:
            raise OSError(errno.ENOSPC, "no space left on device")
        self.appends -= 1


players = st.integers(0, 5)
ids = st.sampled_from(["t", "u"])


class Transactions(RuleBasedStateMachine):
    """Two transactional ids on one node, each with its players."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(capture_logs())  # a full disk is told with a traceback, which takes its time
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(dir=FAST_FOLDER)))
        self.clock = ManualClock(start_ms=1_000)
        self.boots = 0
        self.node = self.boot(None)
        for name in ("t", "u"):
            self.node.partitions.create(name, partition_count=PARTITIONS)
        self.all = {name: self.players_of(name) for name in ("t", "u")}

    def players_of(self, name: str) -> Players:
        model = TransactionalId(now_ms=self.clock.now_ms(), timeout_ms=TIMEOUT_MS)
        return Players(InProcess(self.node), name, topic=name, group=name, model=model)

    def boot(self, data: Path | None) -> Node:
        self.boots += 1
        folder = self.folder / str(self.boots)
        if data is not None:
            shutil.copytree(data, folder)
        return self.stack.enter_context(opened(folder, clock=self.clock))

    def crash(self) -> None:
        self.node = self.boot(self.folder / str(self.boots))
        for played in self.all.values():
            played.connect(InProcess(self.node))
        settled = {"Empty", "Ongoing", "CompleteCommit", "CompleteAbort"}
        assert {state.status.value for state in self.node.transactions.transactions()} <= settled

    def teardown(self) -> None:
        try:
            self.what_is_visible_is_what_was_committed()
        finally:
            self.stack.close()

    @initialize(versions=st.tuples(st.sampled_from([1, 2]), st.sampled_from([1, 2])), used_up=st.booleans())
    def begin(self, versions: tuple[int, int], used_up: bool) -> None:
        """``used_up``: with few epochs left, as after 32,765 transactions."""
        for played, version in zip(self.all.values(), versions, strict=True):
            played.start(version)
            if used_up:
                self.use_up(played)

    def use_up(self, played: Players) -> None:
        state = self.node.transactions.transaction(played.transactional_id)
        assert state is not None
        worn = msgspec.structs.replace(state, producer_epoch=NEARLY_EXHAUSTED)
        self.node.journal.append(worn)
        self.node.transactions.replay(worn)
        played.model.me = (state.producer_id, NEARLY_EXHAUSTED)
        played.producers[0].take(state.producer_id, NEARLY_EXHAUSTED)

    # --- what clients do ----------------------------------------------------------------------------------------------

    @rule(name=ids, version=st.sampled_from([1, 2]))
    def start(self, name: str, version: int) -> None:
        self.all[name].start(version)

    @rule(name=ids, who=players)
    def reinitialise(self, name: str, who: int) -> None:
        self.all[name].reinitialise(self.all[name].player(who))

    @rule(name=ids, who=players)
    def repeat_initialisation(self, name: str, who: int) -> None:
        self.all[name].repeat_initialisation(self.all[name].player(who))

    @rule(name=ids, who=players, partition=st.integers(0, PARTITIONS - 1))
    def write(self, name: str, who: int, partition: int) -> None:
        self.all[name].write(self.all[name].player(who), partition)

    @rule(name=ids, who=players, offset=st.integers(0, 9))
    def commit_offset(self, name: str, who: int, offset: int) -> None:
        self.all[name].commit_offset(self.all[name].player(who), offset)

    @rule(name=ids, who=players, commit=st.booleans())
    def end(self, name: str, who: int, commit: bool) -> None:
        self.all[name].end(self.all[name].player(who), commit=commit)

    @rule(name=ids, who=players, commit=st.booleans())
    def end_late(self, name: str, who: int, commit: bool) -> None:
        self.all[name].end_late(self.all[name].player(who), commit=commit)

    # --- what happens to the broker -----------------------------------------------------------------------------------

    @rule(by_ms=st.sampled_from([1, TIMEOUT_MS // 2, TIMEOUT_MS]))
    def time_passes(self, by_ms: int) -> None:
        self.clock.advance(by_ms=by_ms)
        self.node.tick()
        for played in self.all.values():
            state = self.node.transactions.transaction(played.transactional_id)
            assert state is not None
            played.model.time_passes(by_ms, fresh=state.producer_id)

    @rule()
    def crash_and_recover(self) -> None:
        before = set(self.node.transactions.transactions())
        self.crash()
        assert set(self.node.transactions.transactions()) == before

    @rule(name=ids, commit=st.booleans(), appends=st.integers(0, 7), crash=st.booleans())
    def end_with_a_full_disk(self, name: str, commit: bool, appends: int, crash: bool) -> None:
        """The newest player's EndTxn meets a full disk or a crash, and is sent again: twice is once."""
        played = self.all[name]
        with self.disk_full_after(appends):
            dataclasses.replace(played.producers[-1], patient=False).end(commit=commit)
        if crash:
            self.crash()
        played.end(len(played.producers) - 1, commit=commit)

    @rule(name=ids, version=st.sampled_from([1, 2]), appends=st.integers(0, 6), crash=st.booleans())
    def start_with_a_full_disk(self, name: str, version: int, appends: int, crash: bool) -> None:
        """A successor's first InitProducerId may have done one thing at least: ended what was open."""
        played = self.all[name]
        with self.disk_full_after(appends):
            answered = played.newcomer(version, patient=False).init()
        state = self.node.transactions.transaction(name)
        assert state is not None
        if answered == "none":
            played.model.init(None, fresh=state.producer_id)
        elif (state.producer_id, state.producer_epoch) != played.model.me:
            fresh = max(state.producer_id, state.next_producer_id)
            played.model.fence(known=None, fresh=fresh)
        if crash:
            self.crash()
        played.start(version)

    @rule(name=ids, partition=st.integers(0, PARTITIONS - 1), appends=st.integers(0, 1), crash=st.booleans())
    def write_with_a_full_disk(self, name: str, partition: int, appends: int, crash: bool) -> None:
        """The newest player's record meets a full disk or a crash, and is sent again: it is there once."""
        played = self.all[name]
        producer = played.producers[-1]
        if producer.versions == TV2:
            impatient = dataclasses.replace(producer, patient=False, sequences=dict(producer.sequences))
            with self.disk_full_after(appends):
                impatient.produce(name, played.next_value(), partition=partition)
            if crash:
                self.crash()
        played.write(len(played.producers) - 1, partition)

    @contextmanager
    def disk_full_after(self, appends: int) -> Iterator[None]:
        self.node.durability.before_write = DiskFull(appends)
        yield
        self.node.durability.before_write = None

    # --- what must hold always ----------------------------------------------------------------------------------------

    @rule()
    def what_is_visible_is_what_was_committed(self) -> None:
        for played in self.all.values():
            played.check_visible()

    @invariant()
    def offsets_are_those_committed(self) -> None:
        for played in self.all.values():
            (row,) = self.node.groups.offsets.fetch(played.group, [(played.topic, 0)], require_stable=False)
            assert row.offset == played.model.committed_offset, played.model
            (row,) = self.node.groups.offsets.fetch(played.group, [(played.topic, 0)], require_stable=True)
            pending = played.model.open is not None and played.model.open.offset is not None
            assert (row.error.name == "unstable_offset_commit") == pending, played.model

    @invariant()
    def the_last_stable_offset_is_held_by_open_transactions_only(self) -> None:
        for played in self.all.values():
            open_records = played.model.open.records if played.model.open is not None else []
            for index in range(PARTITIONS):
                partition = self.node.partitions.partition(played.topic, index)
                assert partition is not None
                held = any(place == index for place, _ in open_records)
                assert (partition.last_stable_offset < partition.high_watermark) == held, played.model


TestTransactions = Transactions.TestCase
TestTransactions.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
