"""Transactions: who may write under which id, and what is told of them.

Owns: the checks of those APIs of transactions that need more than one operation. Must not know: transactions.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from tallystick.broker.access.guard import Visit, cluster, topic_name, transactional_id
from tallystick.broker.security.acl import CLUSTER_NAME, Operation, ResourceType
from tallystick.wire.errors import ErrorCode
from tallystick.wire.refusals import refused_rows

_FIRST_ADD_PARTITIONS_OF_BROKERS: Final = 4
_OF_BROKERS: Final = cluster(Operation.CLUSTER_ACTION)
_WRITES: Final = transactional_id(Operation.WRITE)
_WRITES_OLD: Final = transactional_id(Operation.WRITE, "v3_and_below_transactional_id")
_ROWS: Final = "results_by_topic_v3_and_below"


def idempotent_write(visit: Visit) -> None:
    """InitProducerId: WRITE on the transactional id; without one, the right to write anything at all (KIP-679)."""
    if visit.request.transactional_id is not None:
        _WRITES(visit)
        return
    context = visit.context
    if not visit.may(Operation.IDEMPOTENT_WRITE, ResourceType.CLUSTER, CLUSTER_NAME) and not (
        visit.authorizer.allows_any(context.principal, context.client_host, Operation.WRITE, ResourceType.TOPIC)
    ):
        visit.must(Operation.IDEMPOTENT_WRITE, ResourceType.CLUSTER, CLUSTER_NAME)
        visit.refuse(ErrorCode.cluster_authorization_failed)


def added_partitions(visit: Visit) -> None:
    """AddPartitionsToTxn: WRITE on the id and on each topic; if one is refused, none is added."""
    if visit.context.api_version >= _FIRST_ADD_PARTITIONS_OF_BROKERS:
        _OF_BROKERS(visit)
        return
    _WRITES_OLD(visit)
    if visit.response is not None:
        return
    rows = visit.request.v3_and_below_topics
    refused: list[Any] = []
    others: list[Any] = []
    for row in rows:
        (others if visit.must(Operation.WRITE, ResourceType.TOPIC, row.name) else refused).append(row)
    if not refused:
        return
    visit.refuse(ErrorCode.none)
    visit.change_response(
        **{
            _ROWS: (
                *refused_rows(visit.request, _ROWS, refused, ErrorCode.topic_authorization_failed),
                *refused_rows(visit.request, _ROWS, others, ErrorCode.operation_not_attempted),
            )
        }
    )


def told_topics(visit: Visit) -> None:
    """DescribeTransactions: of a transaction's topics, those that may be known."""
    visit.change_response(
        transaction_states=tuple(
            dataclasses.replace(
                row,
                topics=tuple(
                    topic
                    for topic in row.topics
                    if visit.may(Operation.DESCRIBE, ResourceType.TOPIC, topic_name(visit, topic) or "")
                ),
            )
            for row in visit.response.transaction_states
        )
    )


def listed_transactions(visit: Visit) -> None:
    """ListTransactions: those whose id may be known."""
    visit.change_response(
        transaction_states=tuple(
            row
            for row in visit.response.transaction_states
            if visit.may(Operation.DESCRIBE, ResourceType.TRANSACTIONAL_ID, row.transactional_id)
        )
    )
