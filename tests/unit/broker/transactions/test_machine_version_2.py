"""Transaction version 2 (KIP-890): every state with every EndTxn, by the epoch that the request has.

``retry`` has the epoch before the present one, which was made for its producer; ``zombie`` has one that was made for
nobody that still counts.
"""

from __future__ import annotations

import msgspec
import pytest

from tallystick.broker.transactions import machine, requests
from tallystick.broker.transactions.records import MAX_EPOCH, TransactionState, TransactionStatus
from tallystick.broker.transactions.requests import Then
from tallystick.errors import IllegalTransition
from tallystick.wire.errors import ErrorCode

PRODUCER_ID, EPOCH, STARTED_MS, NOW_MS, FRESH = 7, 3, 1_000, 2_000, 99

EPOCHS = {"current": EPOCH, "retry": EPOCH - 1, "zombie": EPOCH - 2, "future": EPOCH + 1}

# state: (kind, epoch) -> what happens, in the words of test_machine.
EXPECTED: dict[str, dict[str, str]] = {
    "Empty": {
        "commit current": "invalid_txn_state",
        "abort current": "PrepareAbort 4 +",
        "commit retry": "producer_fenced",
        "abort retry": "producer_fenced",
    },
    "Ongoing": {
        "commit current": "PrepareCommit 4 +",
        "abort current": "PrepareAbort 4 +",
        "commit retry": "producer_fenced",
        "abort retry": "producer_fenced",
    },
    "PrepareCommit": {
        "commit current": "producer_fenced",
        "abort current": "producer_fenced",
        "commit retry": "+",
        "abort retry": "invalid_txn_state",
    },
    "PrepareAbort": {
        "commit current": "producer_fenced",
        "abort current": "producer_fenced",
        "commit retry": "invalid_txn_state",
        "abort retry": "+",
    },
    "CompleteCommit": {
        "commit current": "invalid_txn_state",
        "abort current": "PrepareAbort 4 +",
        "commit retry": "none",
        "abort retry": "invalid_txn_state",
    },
    "CompleteAbort": {
        "commit current": "invalid_txn_state",
        "abort current": "PrepareAbort 4 +",
        "commit retry": "invalid_txn_state",
        "abort retry": "none",
    },
}
FENCED = {f"{kind} {who}": "producer_fenced" for kind in ("commit", "abort") for who in ("zombie", "future")}


def state_of(status: str, **changes: int) -> TransactionState:
    state = TransactionState(
        transactional_id="t",
        producer_id=PRODUCER_ID,
        producer_epoch=EPOCH,
        status=TransactionStatus(status),
        timeout_ms=500,
        last_producer_epoch=EPOCH - 1,
        partitions=(("a", 0),) if status in {"Ongoing", "PrepareCommit", "PrepareAbort"} else (),
        started_ms=STARTED_MS,
        updated_ms=STARTED_MS,
    )
    return msgspec.structs.replace(state, **changes)


def end(kind: str, epoch: int, producer_id: int = PRODUCER_ID, *, fresh: int = FRESH) -> requests.Request:
    request = requests.Commit if kind == "commit" else requests.Abort
    return request(producer_id, epoch, 2, fresh)


def outcome(state: TransactionState, request: requests.Request) -> str:
    decision = machine.decide(state, request, NOW_MS)
    words = []
    if decision.record is not None:
        words.append(f"{decision.record.status.value} {decision.record.producer_epoch}")
    if decision.error is not ErrorCode.none:
        words.append(decision.error.name)
    words.extend({Then.REPLY: [], Then.COMPLETE_AND_REPLY: ["+"], Then.COMPLETE_AND_ASK_AGAIN: ["*"]}[decision.then])
    return " ".join(words) or "none"


def after(state: TransactionState, *asked: requests.Request) -> TransactionState:
    """The state once these were decided, one after another."""
    for request in asked:
        record = machine.decide(state, request, NOW_MS).record
        assert record is not None
        state = record
    return state


@pytest.mark.parametrize("who", EPOCHS)
@pytest.mark.parametrize("kind", ["commit", "abort"])
@pytest.mark.parametrize("status", EXPECTED)
def test_every_state_answers_every_end_as_the_table_says(status: str, kind: str, who: str) -> None:
    expected = (EXPECTED[status] | FENCED)[f"{kind} {who}"]
    assert outcome(state_of(status), end(kind, EPOCHS[who])) == expected


@pytest.mark.parametrize("kind", ["commit", "abort"])
@pytest.mark.parametrize("status", EXPECTED)
def test_another_producer_id_is_no_owner(status: str, kind: str) -> None:
    assert outcome(state_of(status), end(kind, EPOCH, PRODUCER_ID + 1)) == "invalid_producer_id_mapping"


@pytest.mark.parametrize("kind", ["commit", "abort"])
@pytest.mark.parametrize("status", ["CompleteCommit", "CompleteAbort", "PrepareCommit", "PrepareAbort"])
def test_the_epoch_before_is_a_zombie_s_if_the_present_one_was_made_for_another(status: str, kind: str) -> None:
    """A successor of transaction version 1 took over; Apache Kafka compares the epochs alone and lets it pass."""
    assert outcome(state_of(status, last_producer_epoch=-1), end(kind, EPOCH - 1)) == "producer_fenced"


@pytest.mark.parametrize(("kind", "status"), [("commit", "CompleteCommit"), ("abort", "CompleteAbort")])
def test_the_end_of_a_transaction_raises_the_epoch_and_its_retry_is_known(kind: str, status: str) -> None:
    ended = after(state_of("Ongoing"), end(kind, EPOCH), requests.MarkersWritten())
    assert (ended.status.value, ended.producer_epoch, ended.partitions) == (status, EPOCH + 1, ())
    assert ended.client_transaction_version == 2
    assert outcome(ended, end(kind, EPOCH)) == "none"


def test_the_markers_of_a_prepared_transaction_have_the_raised_epoch() -> None:
    prepared = after(state_of("Ongoing"), end("commit", EPOCH))
    assert (prepared.producer_epoch, prepared.partitions) == (EPOCH + 1, (("a", 0),))


def test_an_abort_of_nothing_begins_and_ends_now() -> None:
    prepared = after(state_of("CompleteCommit"), end("abort", EPOCH))
    assert (prepared.started_ms, prepared.partitions, prepared.groups) == (NOW_MS, (), ())


@pytest.mark.parametrize("kind", ["commit", "abort"])
def test_the_end_at_the_last_epoch_hands_out_a_new_producer_id(kind: str) -> None:
    last = MAX_EPOCH - 1
    prepared = after(state_of("Ongoing", producer_epoch=last), end(kind, last))
    assert (prepared.producer_id, prepared.producer_epoch) == (PRODUCER_ID, MAX_EPOCH)
    assert outcome(prepared, end(kind, last)) == "+"
    ended = after(prepared, requests.MarkersWritten())
    assert (ended.producer_id, ended.producer_epoch) == (FRESH, 0)
    assert outcome(ended, end(kind, last)) == "none"
    assert outcome(ended, end(kind, last - 1)) == "invalid_producer_id_mapping"


def test_a_retry_over_the_new_producer_id_is_known_until_its_next_transaction() -> None:
    last = MAX_EPOCH - 1
    ended = after(state_of("Ongoing", producer_epoch=last), end("commit", last), requests.MarkersWritten())
    ongoing = after(ended, requests.AddToTransaction(FRESH, 0, groups=("g",), transaction_version=2))
    assert outcome(ongoing, end("commit", last)) == "invalid_producer_id_mapping"
    following = after(ongoing, end("commit", 0, FRESH), requests.MarkersWritten())
    assert outcome(following, end("commit", last)) == "invalid_producer_id_mapping"


def test_the_last_epoch_without_a_new_producer_id_at_hand_is_a_bug() -> None:
    state = state_of("Ongoing", producer_epoch=MAX_EPOCH - 1)
    with pytest.raises(IllegalTransition):
        machine.decide(state, end("commit", MAX_EPOCH - 1, fresh=-1), NOW_MS)


def test_a_timed_out_producer_aborts_and_goes_on_with_the_raised_epoch() -> None:
    fenced = after(state_of("Ongoing"), requests.TimeOut(10_000, FRESH))
    aborted = after(fenced, requests.AbortFenced(), requests.MarkersWritten())
    assert (aborted.status.value, aborted.producer_epoch) == ("CompleteAbort", EPOCH + 1)
    assert outcome(aborted, end("commit", EPOCH)) == "invalid_txn_state"
    assert outcome(aborted, end("abort", EPOCH)) == "none"


@pytest.mark.parametrize(
    "request_",
    [requests.TimeOut(10_000, FRESH), requests.InitProducerId("t", 500, FRESH)],
    ids=["timeout", "successor"],
)
def test_fencing_at_the_last_epoch_gives_it_to_nobody(request_: requests.Request) -> None:
    """Apache Kafka did until KAFKA-20090, and then had a transaction that never ended."""
    fenced = after(state_of("Ongoing", producer_epoch=MAX_EPOCH - 1), request_)
    assert (fenced.producer_id, fenced.producer_epoch) == (PRODUCER_ID, MAX_EPOCH)
    aborted = after(fenced, requests.AbortFenced(), requests.MarkersWritten())
    assert (aborted.producer_id, aborted.producer_epoch) == (FRESH, 0)


def test_a_request_of_version_1_does_not_raise_the_epoch_that_version_2_raised_before() -> None:
    ended = after(state_of("Ongoing"), end("commit", EPOCH), requests.MarkersWritten())
    ongoing = after(ended, requests.AddToTransaction(PRODUCER_ID, EPOCH + 1, partitions=(("a", 0),)))
    prepared = after(ongoing, requests.Abort(PRODUCER_ID, EPOCH + 1))
    assert (prepared.producer_epoch, prepared.client_transaction_version) == (EPOCH + 1, 0)
    aborted = after(prepared, requests.MarkersWritten())
    assert outcome(aborted, requests.Abort(PRODUCER_ID, EPOCH + 1)) == "none"
