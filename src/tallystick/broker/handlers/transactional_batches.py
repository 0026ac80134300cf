"""May the transactional batches of a Produce request be written? Asked of the coordinator once for each request.

Owns: which partitions need asking, and the error codes that clients expect from Produce. Must not know: how a batch is
written, and everything about a batch that is not its producer.

Up to version 11 a partition must be in the transaction already. From version 12 on it joins by being written to, all of
one request at once (KIP-890).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tallystick.broker.api import RequestContext
from tallystick.wire.batch import MalformedBatch, is_transactional, read_header
from tallystick.wire.errors import ErrorCode

_FIRST_VERSION_WITH_TRANSACTION_ABORTABLE: Final = 11
_FIRST_VERSION_THAT_ADDS_THE_PARTITION: Final = 12

Place = tuple[str, int]
NO_ERRORS: Final[Mapping[Place, ErrorCode]] = {}


def refusals(context: RequestContext, request: Any) -> Mapping[Place, ErrorCode]:
    """Error codes of the batches that may not be written, by topic and partition."""
    transactional = [
        ((str(topic.name), data.index), data.records)
        for topic in request.topic_data
        for data in topic.partition_data
        if data.records and is_transactional(data.records)
    ]
    if not transactional:
        return NO_ERRORS
    if request.transactional_id is None:
        # Apache Kafka refuses the whole request so: a transactional batch needs the right to a transactional id.
        every = ((str(topic.name), data.index) for topic in request.topic_data for data in topic.partition_data)
        return dict.fromkeys(every, ErrorCode.transactional_id_authorization_failed)
    errors: dict[Place, ErrorCode] = {}
    unasked: dict[tuple[int, int], list[Place]] = {}
    joins = context.api_version >= _FIRST_VERSION_THAT_ADDS_THE_PARTITION
    for place, batch in transactional:
        partition = context.node.partitions.partition(*place)
        try:
            header = read_header(batch)
        except MalformedBatch:
            continue  # refused where it would be written, with its own error
        owner = (header.producer_id, header.producer_epoch)
        if partition is None or partition.producers.has_open_transaction(*owner):
            continue
        if joins and header.base_sequence != 0 and header.producer_id not in partition.producers.producers:
            # Under version 2 a transaction's first batch has sequence 0: this one overtook it, or it is lost.
            errors[place] = ErrorCode.out_of_order_sequence_number
        else:
            unasked.setdefault(owner, []).append(place)
    for owner, places in unasked.items():
        errors.update(_ask(context, request.transactional_id, owner, places))
    return errors


def _ask(
    context: RequestContext, transactional_id: str, owner: tuple[int, int], places: list[Place]
) -> dict[Place, ErrorCode]:
    transactions = context.node.transactions
    if context.api_version >= _FIRST_VERSION_THAT_ADDS_THE_PARTITION:
        error = transactions.add_partitions(transactional_id, *owner, places, transaction_version=2)
        found = dict.fromkeys(places, error)
    else:
        found = {place: transactions.verify_partition(transactional_id, *owner, *place) for place in places}
    return {
        place: _code_for(context.api_version, error) for place, error in found.items() if error is not ErrorCode.none
    }


def _code_for(api_version: int, error: ErrorCode) -> ErrorCode:
    match error:
        case ErrorCode.producer_fenced:
            return ErrorCode.invalid_producer_epoch
        case ErrorCode.concurrent_transactions | ErrorCode.coordinator_not_available:
            # Older clients do not ask again after these. They do after this one, and without new metadata.
            return ErrorCode.not_enough_replicas
        case ErrorCode.transaction_abortable if api_version < _FIRST_VERSION_WITH_TRANSACTION_ABORTABLE:
            return ErrorCode.invalid_txn_state
        case _:
            return error
