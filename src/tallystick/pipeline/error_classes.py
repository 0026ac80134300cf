"""Which of the error classes a failure of the Kafka client is: a pure table (rules 11 to 15, KIP-1050).

Owns: the codes that decide by themselves, and what the flags mean for each operation. Must not know:
``confluent_kafka``; codes are numbers, positive for Kafka's protocol, negative for librdkafka's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from tallystick.errors import (
    AbortableError,
    AmbiguousOutcome,
    ConfigurationError,
    FatalError,
    FencedError,
    RetriableError,
    TallystickError,
)


class Operation(Enum):
    """What was asked of the client. The value is the word in messages."""

    INIT = "init_transactions"
    BEGIN = "begin_transaction"
    PRODUCE = "produce"
    FLUSH = "flush"
    SEND_OFFSETS = "send_offsets_to_transaction"
    COMMIT = "commit_transaction"
    ABORT = "abort_transaction"
    CONSUME = "consume"
    COMMITTED = "committed"
    COMMIT_OFFSETS = "commit"
    SEEK = "seek"
    ASSIGN = "assign"
    LOOK_UP = "look-up"


@dataclass(frozen=True, slots=True)
class Failure:
    """A ``KafkaError`` as plain values."""

    code: int
    name: str
    text: str
    fatal: bool = False
    retriable: bool = False
    requires_abort: bool = False


TIMED_OUT: Final = -185
TRANSPORT: Final = -195
ALL_BROKERS_DOWN: Final = -187
PURGED_QUEUE: Final = -152
PURGED_INFLIGHT: Final = -151
AUTO_OFFSET_RESET: Final = -140
MAX_POLL_EXCEEDED: Final = -147
PARTITION_EOF: Final = -191
STATE: Final = -172
FATAL: Final = -150
"""The client is beyond use; its text says why."""
LOCAL_FENCED: Final = -144
INVALID_PRODUCER_EPOCH: Final = 47
INVALID_PRODUCER_ID_MAPPING: Final = 49
FENCED_INSTANCE_ID: Final = 82
PRODUCER_FENCED: Final = 90
FENCED_MEMBER_EPOCH: Final = 110
STALE_MEMBER_EPOCH: Final = 113

_BY_CODE: Final[dict[int, type[TallystickError]]] = {
    LOCAL_FENCED: FencedError,
    INVALID_PRODUCER_EPOCH: FencedError,
    FENCED_INSTANCE_ID: FencedError,
    PRODUCER_FENCED: FencedError,
    INVALID_PRODUCER_ID_MAPPING: FatalError,  # rule 13, KAFKA-18019
    AUTO_OFFSET_RESET: ConfigurationError,  # rule 10
    29: ConfigurationError,  # TOPIC_AUTHORIZATION_FAILED
    30: ConfigurationError,  # GROUP_AUTHORIZATION_FAILED
    31: ConfigurationError,  # CLUSTER_AUTHORIZATION_FAILED
    53: ConfigurationError,  # TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    50: ConfigurationError,  # INVALID_TRANSACTION_TIMEOUT
    111: FatalError,  # UNRELEASED_INSTANCE_ID (rule 7)
}

REFUSALS: Final = frozenset({10, 18, 32, 87})
"""MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE, INVALID_TIMESTAMP, INVALID_RECORD: the record itself is at fault."""

UNKNOWN_TOPICS: Final = frozenset({3, -188})
"""UNKNOWN_TOPIC_OR_PARTITION, and librdkafka's own."""

GONE: Final = UNKNOWN_TOPICS | {-190}
"""The same, and librdkafka's for a partition that is no longer there."""

_GROUP_CHANGED: Final = frozenset({22, 25, 27, FENCED_MEMBER_EPOCH, STALE_MEMBER_EPOCH})
"""ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS, and the two of KIP-848: a rebalance is under way.

A transaction is told ILLEGAL_GENERATION of a stale epoch, too (Apache Kafka 4.3.1).
"""

_NO_ANSWER: Final = frozenset({TIMED_OUT, TRANSPORT, ALL_BROKERS_DOWN, 7})  # 7: REQUEST_TIMED_OUT

_COORDINATOR_MOVES: Final = frozenset({14, 15, 16})
"""COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR: librdkafka flags not all of them."""

_BENIGN_DELIVERY: Final = frozenset({PURGED_QUEUE, PURGED_INFLIGHT})


def classify(failure: Failure, operation: Operation) -> type[TallystickError]:
    """The class that says what the caller does.

    An EndTxn without an answer is ambiguous, and so is one that the client calls retriable (rule 15). Whatever else
    goes wrong in an abort is fatal (rule 12, KAFKA-19250): the next producer's initialisation aborts as well.
    """
    by_code = _BY_CODE.get(failure.code)
    if by_code is not None:
        return by_code
    if operation in {Operation.COMMIT, Operation.ABORT} and not failure.fatal:
        if failure.retriable or failure.code in _NO_ANSWER:
            return AmbiguousOutcome
        return AbortableError if operation is Operation.COMMIT and failure.requires_abort else FatalError
    if failure.fatal:
        return FatalError
    if failure.requires_abort:
        return AbortableError
    if failure.code in _GROUP_CHANGED:
        return AbortableError
    if failure.retriable or failure.code in _NO_ANSWER | _COORDINATOR_MOVES:
        return RetriableError
    return FatalError


def poisons(failure: Failure) -> bool:
    """Whether a failed delivery spoils its transaction: all do but those that an abort itself purged (rule 16)."""
    return failure.code not in _BENIGN_DELIVERY
