"""Idempotence, fencing and the last stable offset of one partition."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.broker.producer_state import (
    Accept,
    Decision,
    Duplicate,
    ProducerStates,
    Reject,
    _check_epoch,
    _check_sequence,
    _check_transaction,
)
from tallystick.wire.batch import MAX_SEQUENCE, BatchHeader, read_header
from tallystick.wire.errors import ErrorCode
from tallystick.wire.records import BatchSpec, encode_batch, encode_marker


def data(
    sequence: int, count: int = 1, *, producer_id: int = 1, epoch: int = 0, transactional: bool = False
) -> BatchHeader:
    spec = BatchSpec(producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence, transactional=transactional)
    return read_header(encode_batch([(None, b"")] * count, spec))


class Written:
    """A partition's state with a log of headers: what is accepted is applied, as a partition does."""

    def __init__(self) -> None:
        self.states = ProducerStates()
        self.end = 0
        self.log: list[tuple[BatchHeader, bool | None]] = []

    def send(self, header: BatchHeader) -> Decision:
        decision = self.states.check(header)
        if isinstance(decision, Accept):
            placed = header._replace(base_offset=self.end)
            self.states.apply_batch(placed)
            self.log.append((placed, None))
            self.end = placed.next_offset
        return decision

    def mark(self, *, commit: bool, producer_id: int = 1, epoch: int = 0) -> None:
        raw = encode_marker(producer_id=producer_id, producer_epoch=epoch, commit=commit, coordinator_epoch=0, now_ms=0)
        header = read_header(raw)._replace(base_offset=self.end)
        self.states.apply_marker(header, commit=commit, coordinator_epoch=0)
        self.log.append((header, commit))
        self.end = header.next_offset

    @property
    def stable(self) -> int:
        return self.states.last_stable_offset(self.end)


def code(decision: Decision) -> ErrorCode:
    assert isinstance(decision, Reject)
    return decision.code


def test_a_repeated_batch_answers_the_original_offset() -> None:
    partition = Written()
    partition.send(data(0, 3))
    partition.send(data(3, 2))
    repeated = partition.send(data(0, 3))
    assert isinstance(repeated, Duplicate)
    assert (repeated.original.first_offset, repeated.original.last_offset) == (0, 2)
    assert partition.end == 5


def test_the_last_five_batches_are_remembered_and_the_sixth_is_out_of_order() -> None:
    partition = Written()
    for sequence in range(6):
        partition.send(data(sequence))
    assert all(isinstance(partition.send(data(sequence)), Duplicate) for sequence in range(1, 6))
    assert code(partition.send(data(0))) is ErrorCode.out_of_order_sequence_number


def test_a_gap_is_out_of_order() -> None:
    partition = Written()
    partition.send(data(0))
    assert code(partition.send(data(2))) is ErrorCode.out_of_order_sequence_number


def test_the_same_sequence_with_another_length_is_no_duplicate() -> None:
    partition = Written()
    partition.send(data(0, 3))
    assert code(partition.send(data(0, 2))) is ErrorCode.out_of_order_sequence_number


def test_sequences_wrap() -> None:
    partition = Written()
    partition.send(data(MAX_SEQUENCE - 1, 3))
    assert isinstance(partition.send(data(1)), Accept)
    assert isinstance(partition.send(data(MAX_SEQUENCE - 1, 3)), Duplicate)


def test_an_unknown_producer_may_start_anywhere_as_in_apache_kafka() -> None:
    assert isinstance(Written().send(data(17)), Accept)


def test_an_old_epoch_is_fenced_and_a_new_one_starts_at_zero() -> None:
    partition = Written()
    partition.send(data(0, epoch=3))
    assert code(partition.send(data(1, epoch=2))) is ErrorCode.invalid_producer_epoch
    assert code(partition.send(data(1, epoch=4))) is ErrorCode.out_of_order_sequence_number
    assert isinstance(partition.send(data(0, epoch=4)), Accept)


def test_a_marker_fences_the_epoch_that_it_ends() -> None:
    partition = Written()
    partition.send(data(0, epoch=3, transactional=True))
    partition.mark(commit=False, epoch=4)
    assert code(partition.send(data(1, epoch=3, transactional=True))) is ErrorCode.invalid_producer_epoch


def test_producers_do_not_disturb_each_other() -> None:
    partition = Written()
    partition.send(data(0, producer_id=1))
    assert isinstance(partition.send(data(0, producer_id=2)), Accept)
    assert isinstance(partition.send(data(1, producer_id=1)), Accept)


def test_a_plain_batch_inside_a_transaction_is_refused() -> None:
    partition = Written()
    partition.send(data(0, transactional=True))
    assert code(partition.send(data(1))) is ErrorCode.invalid_txn_state


@pytest.mark.parametrize(("epoch", "sequence"), [(-1, 0), (0, -1)])
def test_a_producer_id_needs_epoch_and_sequence(epoch: int, sequence: int) -> None:
    assert code(Written().send(data(sequence, epoch=epoch))) is ErrorCode.invalid_record


def test_batches_without_producer_id_are_not_tracked() -> None:
    partition = Written()
    plain = data(-1, producer_id=-1, epoch=-1)
    assert isinstance(partition.send(plain), Accept)
    assert isinstance(partition.send(plain), Accept)
    assert partition.states.producers == {}


def test_the_last_stable_offset_is_the_oldest_open_transaction() -> None:
    partition = Written()
    partition.send(data(0, 2, producer_id=1, transactional=True))
    partition.send(data(0, 3, producer_id=2, transactional=True))
    assert partition.stable == 0
    partition.mark(commit=True, producer_id=1)
    assert partition.stable == 2
    partition.mark(commit=False, producer_id=2)
    assert partition.stable == partition.end == 7


@dataclass(frozen=True)
class Step:
    """What a producer does next: send in sequence, send out of sequence, repeat its last batch, or end."""

    producer_id: int
    kind: str
    count: int
    epoch_step: int


STEPS = st.lists(
    st.builds(
        Step,
        producer_id=st.integers(1, 3),
        kind=st.sampled_from(["send", "send", "gap", "repeat", "commit", "abort", "plain"]),
        count=st.integers(1, 3),
        epoch_step=st.sampled_from([0, 0, 0, 1, -1]),
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(STEPS)
def test_state_rebuilt_from_headers_equals_the_live_state(steps: list[Step]) -> None:
    partition = Written()
    last: dict[int, BatchHeader] = {}
    for step in steps:
        entry = partition.states.producers.get(step.producer_id)
        epoch = max((entry.producer_epoch if entry else 0) + step.epoch_step, 0)
        if step.kind in ("commit", "abort"):
            if step.epoch_step >= 0:
                partition.mark(commit=step.kind == "commit", producer_id=step.producer_id, epoch=epoch)
            continue
        following = entry.last_sequence + 1 if entry and epoch == entry.producer_epoch else 0
        header = data(
            following + (5 if step.kind == "gap" else 0),
            step.count,
            producer_id=step.producer_id,
            epoch=epoch,
            transactional=step.kind != "plain",
        )
        header = last.get(step.producer_id, header) if step.kind == "repeat" else header
        if isinstance(partition.send(header), Accept):
            last[step.producer_id] = header
        assert partition.stable <= partition.end
    rebuilt = ProducerStates()
    for kept in range(len(partition.log) + 1):  # from a snapshot after each batch, and from none
        rebuilt = ProducerStates()
        snapshot = ProducerStates()
        for number, (header, commit) in enumerate(partition.log):
            if number == kept:
                rebuilt.restore(snapshot.entries())
            for states in (snapshot, rebuilt):
                if commit is None:
                    states.apply_batch(header)
                else:
                    states.apply_marker(header, commit=commit, coordinator_epoch=0)
        assert rebuilt == partition.states == snapshot


@pytest.mark.parametrize(
    ("transaction_version", "epoch", "expected"),
    [
        (0, 1, "invalid_producer_epoch"),
        (0, 2, "accepted"),
        (0, 3, "accepted"),
        (2, 1, "invalid_producer_epoch"),
        (2, 2, "invalid_producer_epoch"),
        (2, 3, "accepted"),
    ],
)
def test_the_marker_of_version_2_has_a_higher_epoch_than_what_it_ends(
    transaction_version: int, epoch: int, expected: str
) -> None:
    partition = Written()
    partition.send(data(0, epoch=2, transactional=True))
    asked = {"producer_id": 1, "coordinator_epoch": 0, "transaction_version": transaction_version}
    decision = partition.states.check_marker(producer_epoch=epoch, **asked)
    assert (code(decision).name if isinstance(decision, Reject) else "accepted") == expected
    partition.mark(commit=True, epoch=3)
    repeated = partition.states.check_marker(producer_epoch=3, **asked)
    assert isinstance(repeated, Accept)
    assert isinstance(partition.states.check_marker(producer_epoch=2, **asked), Reject)


def test_a_forgotten_producer_begins_anew() -> None:
    partition = Written()
    partition.send(data(0))
    partition.states.forget(1)
    partition.states.forget(2)
    assert isinstance(partition.send(data(7)), Accept)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 3), st.integers(0, 1), st.booleans()), max_size=8),
    st.tuples(st.integers(0, 20), st.integers(1, 3), st.integers(0, 1), st.booleans()),
)
def test_what_continues_a_producer_is_accepted_by_every_other_rule(
    before: list[tuple[int, int, int, bool]], then: tuple[int, int, int, bool]
) -> None:
    partition = Written()
    for sequence, count, epoch, transactional in before:
        partition.send(data(sequence, count, epoch=epoch, transactional=transactional))
    sequence, count, epoch, transactional = then
    header = data(sequence, count, epoch=epoch, transactional=transactional)
    entry = partition.states.producers.get(1)
    if entry is not None and entry.continues_with(header):
        assert entry.duplicate_of(header) is None
        assert not any(rule(entry, header) for rule in (_check_epoch, _check_sequence, _check_transaction))
