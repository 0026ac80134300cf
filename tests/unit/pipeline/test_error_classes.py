"""What each failure of the client means for its caller."""

from __future__ import annotations

import confluent_kafka
import pytest
from confluent_kafka import KafkaError

from tallystick.errors import (
    AbortableError,
    AmbiguousOutcome,
    ConfigurationError,
    FatalError,
    FencedError,
    RetriableError,
    TallystickError,
)
from tallystick.pipeline import error_classes
from tallystick.pipeline.error_classes import Failure, Operation, classify, poisons

MID_TRANSACTION = [Operation.PRODUCE, Operation.SEND_OFFSETS, Operation.BEGIN]


def failure(code: int = 1, *, fatal: bool = False, retriable: bool = False, requires_abort: bool = False) -> Failure:
    return Failure(code, "NAME", "text", fatal, retriable, requires_abort)


@pytest.mark.parametrize("operation", list(Operation))
@pytest.mark.parametrize(
    "code",
    [KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.FENCED_INSTANCE_ID, KafkaError._FENCED],
)
def test_fencing_is_fencing_whatever_was_asked_and_whatever_the_flags_say(code: int, operation: Operation) -> None:
    for flags in ({"fatal": True}, {"requires_abort": True}, {"retriable": True}):
        assert classify(failure(code, **flags), operation) is FencedError


@pytest.mark.parametrize("operation", MID_TRANSACTION)
def test_the_flags_decide_between_retry_abort_and_a_new_producer(operation: Operation) -> None:
    assert classify(failure(retriable=True), operation) is RetriableError
    assert classify(failure(requires_abort=True), operation) is AbortableError
    assert classify(failure(fatal=True), operation) is FatalError
    assert classify(failure(), operation) is FatalError
    assert classify(failure(retriable=True, requires_abort=True), operation) is AbortableError


@pytest.mark.parametrize("operation", [Operation.COMMIT, Operation.ABORT])
@pytest.mark.parametrize(
    "unanswered",
    [
        failure(KafkaError._TIMED_OUT),
        failure(KafkaError._TIMED_OUT, retriable=True),
        failure(KafkaError._TRANSPORT),
        failure(KafkaError._ALL_BROKERS_DOWN),
        failure(KafkaError.REQUEST_TIMED_OUT),
        failure(retriable=True),
    ],
)
def test_an_end_without_an_answer_is_ambiguous_and_never_called_again(
    unanswered: Failure, operation: Operation
) -> None:
    assert classify(unanswered, operation) is AmbiguousOutcome


def test_abortable_in_answer_to_an_abort_is_fatal() -> None:
    assert classify(failure(requires_abort=True), Operation.COMMIT) is AbortableError
    assert classify(failure(requires_abort=True), Operation.ABORT) is FatalError


@pytest.mark.parametrize("operation", list(Operation))
def test_a_forgotten_producer_id_needs_a_new_producer(operation: Operation) -> None:
    forgotten = failure(KafkaError.INVALID_PRODUCER_ID_MAPPING, requires_abort=True)
    assert classify(forgotten, operation) is FatalError


@pytest.mark.parametrize(
    "code",
    [KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS, 113],
)
def test_a_group_that_moved_on_costs_the_transaction_only(code: int) -> None:
    assert classify(failure(code), Operation.SEND_OFFSETS) is AbortableError
    assert classify(failure(code), Operation.COMMIT_OFFSETS) is AbortableError


def test_no_authorization_is_for_a_person() -> None:
    for code in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED):
        assert classify(failure(code, requires_abort=True), Operation.PRODUCE) is ConfigurationError


def test_every_delivery_failure_poisons_but_those_of_a_purge() -> None:
    assert poisons(failure(KafkaError._MSG_TIMED_OUT))
    assert not poisons(failure(KafkaError._PURGE_QUEUE))
    assert not poisons(failure(KafkaError._PURGE_INFLIGHT))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("TIMED_OUT", "_TIMED_OUT"),
        ("TRANSPORT", "_TRANSPORT"),
        ("ALL_BROKERS_DOWN", "_ALL_BROKERS_DOWN"),
        ("PURGED_QUEUE", "_PURGE_QUEUE"),
        ("PURGED_INFLIGHT", "_PURGE_INFLIGHT"),
        ("AUTO_OFFSET_RESET", "_AUTO_OFFSET_RESET"),
        ("MAX_POLL_EXCEEDED", "_MAX_POLL_EXCEEDED"),
        ("PARTITION_EOF", "_PARTITION_EOF"),
        ("STATE", "_STATE"),
        ("LOCAL_FENCED", "_FENCED"),
        ("INVALID_PRODUCER_EPOCH", "INVALID_PRODUCER_EPOCH"),
        ("INVALID_PRODUCER_ID_MAPPING", "INVALID_PRODUCER_ID_MAPPING"),
        ("FENCED_INSTANCE_ID", "FENCED_INSTANCE_ID"),
        ("PRODUCER_FENCED", "PRODUCER_FENCED"),
        ("STALE_MEMBER_EPOCH", "STALE_MEMBER_EPOCH"),
    ],
)
def test_our_numbers_are_the_clients(ours: str, theirs: str) -> None:
    assert getattr(error_classes, ours) == getattr(confluent_kafka.KafkaError, theirs)


@pytest.mark.parametrize("operation", list(Operation))
def test_every_code_has_a_class(operation: Operation) -> None:
    for code in range(-200, 130):
        assert issubclass(classify(failure(code), operation), TallystickError)


@pytest.mark.parametrize("code", [14, 15, 16])
@pytest.mark.parametrize("operation", [Operation.LOOK_UP, Operation.COMMITTED, Operation.COMMIT_OFFSETS])
def test_a_coordinator_that_moves_or_loads_is_waited_for_even_without_a_flag(code: int, operation: Operation) -> None:
    assert classify(Failure(code, "COORDINATOR", "moves"), operation) is RetriableError
