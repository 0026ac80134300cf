"""What a request is about, and which conditions hold for it, over the requests of every API."""

from __future__ import annotations

import uuid
from random import Random
from typing import Any

import pytest
from kio.index import load_request_schema
from kio.schema.index import api_key_map
from tests.support.messages import random_message
from tests.support.wire import nested, request

from tallystick.broker.faults import Match
from tallystick.broker.faults.subject import Subject, subject_of
from tallystick.broker.registry import APIS

ORDERS = uuid.UUID(int=7)
METADATA = {"allow_auto_topic_creation": False, "include_topic_authorized_operations": False}


def subject(api: str, version: int, **fields: Any) -> Subject:
    return subject_of(
        request(api, version, **fields),
        api=api,
        client_id="shop",
        name_of_topic={ORDERS: "orders"}.get,
    )


def produce() -> Subject:
    row = nested("produce", 11, "PartitionProduceData", index=3, records=b"")
    topic = nested("produce", 11, "TopicProduceData", name="orders", partition_data=(row,))
    return subject("produce", 11, transactional_id="tx-1", acks=-1, timeout=0, topic_data=(topic,))


def test_a_produce_is_about_its_partitions_and_its_transaction() -> None:
    assert produce() == Subject(
        api="produce",
        client_id="shop",
        topics=frozenset({"orders"}),
        partitions=frozenset({("orders", 3)}),
        transactional_ids=frozenset({"tx-1"}),
    )


def test_a_topic_that_is_named_by_its_id_is_found_by_its_name() -> None:
    rows = tuple(
        nested("metadata", 12, "MetadataRequestTopic", name=None, topic_id=known) for known in (ORDERS, uuid.uuid4())
    )
    assert subject("metadata", 12, topics=rows, **METADATA).topics == {"orders"}


def test_groups_and_transactions_are_found_where_requests_of_many_keep_them() -> None:
    assert subject("find_coordinator", 4, key_type=1, coordinator_keys=("tx-1", "tx-2")).transactional_ids == {
        "tx-1",
        "tx-2",
    }
    assert subject("find_coordinator", 1, key="readers", key_type=0).groups == {"readers"}
    assert subject("describe_groups", 5, groups=("readers", "others"), include_authorized_operations=False).groups == {
        "readers",
        "others",
    }
    group = nested("offset_fetch", 8, "OffsetFetchRequestGroup", group_id="readers", topics=None)
    assert subject("offset_fetch", 8, groups=(group,), require_stable=False).groups == {"readers"}
    topic = nested("add_partitions_to_txn", 4, "AddPartitionsToTxnTopic", name="orders", partitions=(1, 2))
    transaction = nested(
        "add_partitions_to_txn",
        4,
        "AddPartitionsToTxnTransaction",
        transactional_id="tx-1",
        producer_id=1,
        producer_epoch=0,
        verify_only=False,
        topics=(topic,),
    )
    found = subject("add_partitions_to_txn", 4, transactions=(transaction,))
    assert found.transactional_ids == {"tx-1"}
    assert found.partitions == {("orders", 1), ("orders", 2)}


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
def test_every_request_that_may_come_can_be_looked_into(api: Any) -> None:
    assert api_key_map[api.key] == api.name
    for version in range(api.min_version, api.max_version + 1):
        for seed in range(20):
            message = random_message(load_request_schema(api.key, version), Random(seed))
            subject_of(message, api=api.name, client_id=None, name_of_topic=str)


@pytest.mark.parametrize(
    "match",
    [
        Match(),
        Match(api="produce"),
        Match(client_id="sh?p"),
        Match(topic="orders"),
        Match(topic="ord*", partition=3),
        Match(partition=3),
        Match(transactional_id="tx-[12]"),
        Match(api="produce", client_id="shop", topic="orders", partition=3, transactional_id="tx-1"),
    ],
    ids=str,
)
def test_conditions_that_hold(match: Match) -> None:
    assert match.holds(produce())


@pytest.mark.parametrize(
    "match",
    [
        Match(api="fetch"),
        Match(client_id="shop-2"),
        Match(topic="order"),
        Match(topic="orders", partition=2),
        Match(topic="others", partition=3),
        Match(transactional_id="tx-2"),
        Match(group="*"),
    ],
    ids=str,
)
def test_conditions_that_do_not_hold(match: Match) -> None:
    assert not match.holds(produce())
