"""State is the fold of the committed inputs: through aborts, lost answers, kills, other owners and compaction."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.pipeline.state.world import CHANGELOG, Transaction, Worker, World

from tallystick.errors import AmbiguousOutcome, ConfigurationError
from tallystick.pipeline.cycle import Action
from tallystick.pipeline.state import partition_state

WORDS = ("one", "two", "three")
VALUES = (b"x", b"x", b"x", b"forget", b"bad", b"x")


def words(number: int, offset: int) -> tuple[str, bytes]:
    return WORDS[(offset * 7 + number) % len(WORDS)], VALUES[(offset * 5 + offset // 6 + number) % len(VALUES)]


STEPS = st.one_of(
    st.tuples(st.just("deliver"), st.integers(1, 5)),
    st.tuples(
        st.sampled_from(["produce", "offsets", "commit", "lost-yes", "lost-no", "silent"]),
        st.integers(1, 5),
    ),
    st.tuples(st.sampled_from(["kill", "stop", "rebalance", "compact", "late"]), st.just(0)),
    st.tuples(st.sampled_from(["elsewhere", "killed-in-commit"]), st.integers(1, 3)),
)


class Killed(BaseException):
    """Nothing after this line is done."""


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=14), st.sampled_from([0, 10**9]))
def test_state_is_the_fold_of_the_committed_inputs(steps: list[tuple[str, int]], flush_interval_ms: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition_state, "FLUSH_INTERVAL_MS", flush_interval_ms)
        world = World(Path(folder), words=words)
        worker = Worker(world, "slot")
        for what, number in steps:
            worker = _do(world, worker, what, number)
            for partition in range(world.partitions):
                assert worker.counts(partition) == world.expected(partition), what
        worker.close()
        fresh = Worker(world, "slot", folder=Path(folder) / "fresh")
        for partition in range(world.partitions):
            assert fresh.counts(partition) == world.expected(partition), "the changelog alone"
        fresh.close()


def _do(world: World, worker: Worker, what: str, number: int) -> Worker:
    if what == "deliver":
        worker.deliver(number)
    elif what == "kill":
        worker.kill()
        return Worker(world, "slot")
    elif what == "killed-in-commit":
        world.faults.append("lost-yes")
        worker.strategy._perform = _DiesUnanswered(worker)  # type: ignore[method-assign]
        with pytest.raises(Killed):
            worker.deliver(number)
        worker.kill()
        world.faults.clear()
        return Worker(world, "slot")
    elif what == "stop":
        worker.close()
        return Worker(world, "slot")
    elif what == "rebalance":
        worker.revoke()
        worker.assign()
    elif what == "elsewhere":
        worker.revoke()
        other = Worker(world, "other")
        other.deliver(number)
        other.close()
        worker.assign()
    elif what == "compact":
        world.log.compact()
    elif what == "late":
        world.clock.advance(by_ms=5_000)
    else:
        world.faults.append(what)
        worker.deliver(number)
        world.faults.clear()
    return worker


class _DiesUnanswered:
    """Performs as the strategy does, until an answer is lost: then the process is gone."""

    def __init__(self, worker: Worker) -> None:
        self._performers = worker.strategy._performers

    def __call__(self, action: Action) -> None:
        try:
            self._performers[action]()
        except AmbiguousOutcome as error:
            raise Killed from error


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, words=words)


def test_a_local_copy_is_gone_on_with_and_not_read_anew(world: World) -> None:
    worker = Worker(world, "slot")
    worker.deliver(10)
    worker.close()
    again = Worker(world, "slot")
    assert again.state.records_restored == 0
    assert again.counts(0) == world.expected(0) != {}
    again.close()


def test_a_copy_that_is_behind_reads_what_it_lacks_only(world: World) -> None:
    worker = Worker(world, "slot")
    worker.deliver(10)
    worker.revoke()
    other = Worker(world, "other")
    other.deliver(1)
    other.close()
    worker.assign()
    assert 1 <= worker.state.records_restored <= 4
    assert worker.counts(0) == world.expected(0)
    worker.close()


def test_a_local_store_that_is_foreign_newer_or_cut_back_is_rebuilt(world: World) -> None:
    """Rule 24, KAFKA-20685: the file is flushed after the commit, with its position, and has to prove itself."""
    worker = Worker(world, "slot")
    worker.deliver(4)
    worker.deliver(4)
    worker.close()
    place = (CHANGELOG, 0)
    # The changelog lost its end (an unclean election), and others wrote in its place.
    world.log.records[place] = [kept for kept in world.log.records[place] if kept[0][0] < 2]
    newer = Worker(world, "slot")
    left = {(key or b"").decode(): value for _, key, value, _ in world.log.read(place, 0)}
    assert newer.counts(0) == {key: int(value) for key, value in left.items() if value is not None}
    newer.close()
    # It was cut back, and goes on beyond the copy's position with other records.
    world.log.records.clear()
    world.log.ends.clear()
    world.log.committed.clear()
    other = Worker(world, "other")
    for _ in range(4):
        other.deliver(1)
    other.close()
    cut = Worker(world, "slot")
    assert cut.counts(0) == world.expected(0)
    cut.close()
    world.log.topic_id = "made again"
    world.log.records.clear()
    world.log.ends.clear()
    empty = Worker(world, "slot")
    assert empty.counts(0) == {}
    empty.close()


def test_state_waits_for_a_transaction_whose_marker_is_not_written_yet(world: World) -> None:
    """Its offsets may be committed already: state at the last stable offset of that moment would lack it."""
    worker = Worker(world, "slot")
    worker.deliver(3)
    worker.close()
    place = (CHANGELOG, 0)
    last = [transaction for _, transaction in world.log.records[place]][-1]
    last.committed = None
    looks = 0

    def marker_comes() -> None:
        nonlocal looks
        looks += 1
        if looks == 5:
            last.committed = True

    world.on_look = marker_comes
    successor = Worker(world, "other")
    assert successor.counts(0) == world.expected(0) != {}
    assert looks >= 5
    successor.close()


def test_two_workers_cannot_use_one_folder(world: World) -> None:
    worker = Worker(world, "slot")
    with pytest.raises(ConfigurationError, match="rule 5"):
        Worker(world, "slot")
    worker.close()


def test_a_partition_does_not_wait_for_the_state_of_another(world: World) -> None:
    worker = Worker(world, "slot")
    worker.deliver(3)
    worker.close()
    last = [transaction for _, transaction in world.log.records[CHANGELOG, 1]][-1]
    last.committed = None  # a transaction is open there; in partition 0 it is over
    world.log.records[CHANGELOG, 0] = [
        (record, Transaction(committed=True)) for record, _ in world.log.records[CHANGELOG, 0]
    ]
    other = Worker(world, "other", assigned=False)
    other.strategy.changed("assigned")
    other.state.changed(world.sources)
    assert other.state._restorations[0].over.wait(60)
    assert other.state.released() == {("in", 0)}
    assert other.state.held == {("in", 1)}
    last.committed = True
    assert other.state._restorations[1].over.wait(60)
    assert other.state.released() == {("in", 1)}
    other.close()
