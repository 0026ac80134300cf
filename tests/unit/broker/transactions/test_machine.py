"""Every state with every request: the answer, what follows, and which state."""

from __future__ import annotations

import msgspec
import pytest

from tallystick.broker.transactions import machine, requests
from tallystick.broker.transactions.records import TransactionState, TransactionStatus
from tallystick.broker.transactions.requests import Then
from tallystick.errors import IllegalTransition

PRODUCER_ID, EPOCH, STARTED_MS, TIMEOUT_MS, EXPIRATION_MS = 7, 3, 1_000, 500, 10_000

REQUESTS: dict[str, requests.Request] = {
    "init": requests.InitProducerId("t", TIMEOUT_MS, fresh_producer_id=99),
    "init own": requests.InitProducerId("t", TIMEOUT_MS, 99, producer_id=PRODUCER_ID, producer_epoch=EPOCH),
    "init zombie": requests.InitProducerId("t", TIMEOUT_MS, 99, producer_id=PRODUCER_ID, producer_epoch=EPOCH - 1),
    "add": requests.AddToTransaction(PRODUCER_ID, EPOCH, partitions=(("b", 0),)),
    "add zombie": requests.AddToTransaction(PRODUCER_ID, EPOCH - 1, partitions=(("b", 0),)),
    "add stranger": requests.AddToTransaction(PRODUCER_ID + 1, EPOCH, partitions=(("b", 0),)),
    "commit": requests.Commit(PRODUCER_ID, EPOCH),
    "commit zombie": requests.Commit(PRODUCER_ID, EPOCH - 1),
    "abort": requests.Abort(PRODUCER_ID, EPOCH),
    "abort zombie": requests.Abort(PRODUCER_ID, EPOCH - 1),
    "commit 2": requests.Commit(PRODUCER_ID, EPOCH, 2),
    "abort 2": requests.Abort(PRODUCER_ID, EPOCH, 2),
    "tick": requests.TimeOut(EXPIRATION_MS),
    "abort fenced": requests.AbortFenced(),
    "markers written": requests.MarkersWritten(),
}

# state: request -> what happens, as "new state, epoch" or an error; "+" completes and answers, "*" completes and asks
# again; "illegal" raises. What is not named is "none": answered without an error and without a change.
EXPECTED: dict[str, dict[str, str]] = {
    "Empty": {
        "commit 2": "invalid_txn_state",
        "abort 2": "PrepareAbort 4 +",
        "init": "Empty 4",
        "init own": "Empty 4",
        "init zombie": "producer_fenced",
        "add": "Ongoing 3",
        "commit": "invalid_txn_state",
        "abort": "invalid_txn_state",
        "abort fenced": "illegal",
        "markers written": "illegal",
    },
    "Ongoing": {
        "commit 2": "PrepareCommit 4 +",
        "abort 2": "PrepareAbort 4 +",
        "init": "PrepareEpochFence 4 *",
        "init own": "PrepareEpochFence 4 *",
        "init zombie": "producer_fenced",
        "add": "Ongoing 3",
        "commit": "PrepareCommit 3 +",
        "abort": "PrepareAbort 3 +",
        "tick": "PrepareEpochFence 4 +",
        "abort fenced": "illegal",
        "markers written": "illegal",
    },
    "PrepareEpochFence": {
        "commit 2": "*",
        "abort 2": "*",
        "init": "*",
        "init own": "*",
        "init zombie": "*",
        "add": "*",
        "commit": "invalid_txn_state",
        "abort": "+",
        "tick": "+",
        "abort fenced": "PrepareAbort 3 +",
        "markers written": "illegal",
    },
    "PrepareCommit": {
        "commit 2": "producer_fenced",
        "abort 2": "producer_fenced",
        "init": "*",
        "init own": "*",
        "init zombie": "*",
        "add": "*",
        "commit": "+",
        "abort": "invalid_txn_state",
        "tick": "+",
        "abort fenced": "illegal",
        "markers written": "CompleteCommit 3",
    },
    "PrepareAbort": {
        "commit 2": "producer_fenced",
        "abort 2": "producer_fenced",
        "init": "*",
        "init own": "*",
        "init zombie": "*",
        "add": "*",
        "commit": "invalid_txn_state",
        "abort": "+",
        "tick": "+",
        "abort fenced": "illegal",
        "markers written": "CompleteAbort 3",
    },
    "CompleteCommit": {
        "commit 2": "invalid_txn_state",
        "abort 2": "PrepareAbort 4 +",
        "init": "Empty 4",
        "init own": "Empty 4",
        "init zombie": "producer_fenced",
        "add": "Ongoing 3",
        "commit": "none",
        "abort": "invalid_txn_state",
        "abort fenced": "illegal",
        "markers written": "illegal",
    },
    "CompleteAbort": {
        "commit 2": "invalid_txn_state",
        "abort 2": "PrepareAbort 4 +",
        "init": "Empty 4",
        "init own": "Empty 4",
        "init zombie": "producer_fenced",
        "add": "Ongoing 3",
        "commit": "invalid_txn_state",
        "abort": "none",
        "abort fenced": "illegal",
        "markers written": "illegal",
    },
    "Dead": dict.fromkeys(REQUESTS, "illegal"),
}
ZOMBIES = {
    "add zombie": "producer_fenced",
    "add stranger": "invalid_producer_id_mapping",
    "commit zombie": "producer_fenced",
    "abort zombie": "producer_fenced",
}


def state_of(status: str) -> TransactionState:
    return TransactionState(
        transactional_id="t",
        producer_id=PRODUCER_ID,
        producer_epoch=EPOCH,
        status=TransactionStatus(status),
        timeout_ms=TIMEOUT_MS,
        partitions=(("a", 0),) if status not in {"Empty", "CompleteCommit", "CompleteAbort"} else (),
        started_ms=STARTED_MS,
        updated_ms=STARTED_MS,
    )


def outcome(state: TransactionState | None, request: requests.Request, *, now_ms: int = STARTED_MS + TIMEOUT_MS) -> str:
    try:
        decision = machine.decide(state, request, now_ms)
    except IllegalTransition:
        return "illegal"
    words = []
    if decision.record is not None:
        words.append(f"{decision.record.status.value} {decision.record.producer_epoch}")
    if decision.error.name != "none":
        words.append(decision.error.name)
    words.extend({Then.REPLY: [], Then.COMPLETE_AND_REPLY: ["+"], Then.COMPLETE_AND_ASK_AGAIN: ["*"]}[decision.then])
    return " ".join(words) or "none"


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("status", [status.value for status in TransactionStatus])
def test_every_state_answers_every_request_as_the_table_says(status: str, request_name: str) -> None:
    expected = (EXPECTED[status] | (ZOMBIES if status != "Dead" else {})).get(request_name, "none")
    assert outcome(state_of(status), REQUESTS[request_name]) == expected


@pytest.mark.parametrize(
    ("request_name", "expected"),
    [
        ("init", "Empty 0"),
        ("init own", "Empty 0"),
        ("add", "invalid_producer_id_mapping"),
        ("commit", "invalid_producer_id_mapping"),
        ("abort 2", "invalid_producer_id_mapping"),
        ("abort", "invalid_producer_id_mapping"),
        ("tick", "illegal"),
        ("markers written", "illegal"),
    ],
)
def test_an_unknown_transactional_id_can_only_be_initialised(request_name: str, expected: str) -> None:
    assert outcome(None, REQUESTS[request_name]) == expected


def test_every_transition_of_the_table_is_reachable_from_some_rule() -> None:
    reached = set()
    for status in TransactionStatus:
        for request in REQUESTS.values():
            for now_ms in (STARTED_MS, STARTED_MS + TIMEOUT_MS, STARTED_MS + EXPIRATION_MS):
                try:
                    record = machine.decide(state_of(status.value), request, now_ms).record
                except IllegalTransition:
                    continue
                if record is not None:
                    reached.add((status, record.status))
    assert reached == machine.TRANSITIONS


def test_adding_what_is_there_writes_nothing() -> None:
    request = requests.AddToTransaction(PRODUCER_ID, EPOCH, partitions=(("a", 0),))
    assert outcome(state_of("Ongoing"), request) == "none"


def test_a_new_transaction_starts_its_own_clock_and_forgets_the_partitions_of_the_last() -> None:
    record = machine.decide(state_of("CompleteCommit"), REQUESTS["add"], now_ms=5_000).record
    assert record is not None
    assert (record.started_ms, record.partitions) == (5_000, (("b", 0),))


def test_a_transaction_does_not_time_out_before_its_time() -> None:
    assert outcome(state_of("Ongoing"), REQUESTS["tick"], now_ms=STARTED_MS + TIMEOUT_MS - 1) == "none"


@pytest.mark.parametrize("status", ["Empty", "CompleteCommit", "CompleteAbort"])
def test_an_idle_id_expires_at_its_time_and_not_before(status: str) -> None:
    request = REQUESTS["tick"]
    assert outcome(state_of(status), request, now_ms=STARTED_MS + EXPIRATION_MS - 1) == "none"
    assert outcome(state_of(status), request, now_ms=STARTED_MS + EXPIRATION_MS) == "Dead 3"


def initialised(state: TransactionState, **named: int) -> tuple[int, int]:
    record = machine.decide(state, requests.InitProducerId("t", TIMEOUT_MS, 99, **named), 0).record
    assert record is not None
    return record.producer_id, record.producer_epoch


def test_an_exhausted_epoch_takes_a_new_producer_id() -> None:
    state = msgspec.structs.replace(state_of("Empty"), producer_epoch=32765)
    assert initialised(state) == (PRODUCER_ID, 32766)
    state = msgspec.structs.replace(state, producer_epoch=32766)
    assert initialised(state) == (99, 0)


def test_fencing_at_the_last_epoch_still_fences_and_the_next_owner_gets_a_new_producer_id() -> None:
    state = msgspec.structs.replace(state_of("Ongoing"), producer_epoch=32766)
    for named in ({}, {"producer_id": PRODUCER_ID, "producer_epoch": 32766}):
        fenced = machine.decide(state, requests.InitProducerId("t", TIMEOUT_MS, 99, **named), 0).record
        assert fenced is not None
        assert (fenced.producer_id, fenced.producer_epoch) == (PRODUCER_ID, 32767)
        preparing = machine.decide(fenced, requests.AbortFenced(), 0).record
        aborted = machine.decide(preparing, requests.MarkersWritten(), 0).record
        assert aborted is not None
        assert (aborted.producer_id, aborted.producer_epoch) == (99, 0)
        assert initialised(aborted, **named) == ((99, 0) if named else (99, 1))


def test_an_id_that_was_left_at_the_highest_epoch_gets_a_new_producer_id() -> None:
    """As format 1 of the data folder may have it: fencing did not replace the producer id then."""
    left = msgspec.structs.replace(state_of("CompleteAbort"), producer_epoch=32767)
    assert initialised(left) == (99, 0)
    assert initialised(left, producer_id=PRODUCER_ID, producer_epoch=32767) == (99, 0)


def test_the_epoch_bump_of_a_producer_whose_answer_was_lost_is_repeated() -> None:
    bumped = machine.decide(state_of("Empty"), REQUESTS["init own"], 0).record
    assert bumped is not None
    assert initialised(bumped, producer_id=PRODUCER_ID, producer_epoch=EPOCH) == (PRODUCER_ID, EPOCH + 1)


def test_the_new_producer_id_of_a_producer_whose_answer_was_lost_is_repeated() -> None:
    state = msgspec.structs.replace(state_of("Empty"), producer_epoch=32766)
    named = {"producer_id": PRODUCER_ID, "producer_epoch": 32766}
    rotated = machine.decide(state, requests.InitProducerId("t", TIMEOUT_MS, 99, **named), 0).record
    assert rotated is not None
    assert (rotated.producer_id, rotated.producer_epoch) == (99, 0)
    request = requests.InitProducerId("t", TIMEOUT_MS, 100, **named)
    repeated = machine.decide(rotated, request, 0).record
    assert repeated is not None
    assert (repeated.producer_id, repeated.producer_epoch) == (99, 0)
