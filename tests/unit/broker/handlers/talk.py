"""A node of coordinators only, spoken to in bytes: what the tests of their handlers share."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.catalog import Catalog, topic_id_of

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.groups import GroupCoordinator
from tallystick.broker.handlers import (
    add_partitions_to_txn,
    consumer_group_heartbeat,
    end_txn,
    init_producer_id,
    join_group,
    offset_fetch,
    sync_group,
)
from tallystick.broker.node import Node
from tallystick.broker.ports import JournalRecord
from tallystick.broker.transactions import TransactionCoordinator
from tallystick.clock import ManualClock
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode
from tallystick.wire.frames import (
    LENGTH_BYTES,
    read_request,
    read_request_header,
    read_response,
    write_request,
    write_response,
)

MINUTE = timedelta(minutes=1)
SECONDS_5 = timedelta(seconds=5)


class Topic(Catalog):
    """One topic, ``a``, with two partitions."""

    def __init__(self) -> None:
        super().__init__(a=2)

    def exists(self, topic: str, partition: int) -> bool:
        return topic == "a" and 0 <= partition < 2

    def topic_id(self, topic: str) -> uuid.UUID | None:
        return topic_id_of(topic) if topic == "a" else None

    def append_marker(self, topic: str, partition: int, **_: Any) -> None:
        assert self.exists(topic, partition)


class Records(list[JournalRecord]):
    """A journal in memory."""

    def take_back(self) -> None:
        self.pop()


class Talk:
    """A node of coordinators only, spoken to in bytes."""

    def __init__(self) -> None:
        clock, journal, topic = ManualClock(start_ms=1_000), Records(), Topic()
        groups = GroupCoordinator(journal, topic, clock)
        transactions = TransactionCoordinator(journal, topic, clock, groups)
        self.node = cast(
            Node,
            SimpleNamespace(
                partitions=topic,
                security=SimpleNamespace(authorizer=None),
                groups=groups,
                transactions=transactions,
                clock=clock,
                host="localhost",
                port=9092,
                node_id=1,
            ),
        )

    def ask(self, api: Api, version: int, **fields: Any) -> Any:
        build = schema.request(api.name, version)
        name = "".join(word.capitalize() for word in api.name.split("_")) + "Request"
        body = {key: value(build) if callable(value) else value for key, value in fields.items()}
        frame = write_request(1, "client", getattr(build, name)(**body))[LENGTH_BYTES:]
        header = read_request_header(frame)
        context = RequestContext(self.node, version, header.client_id, "127.0.0.1", connection_id=1)
        response = asyncio.run(asyncio.wait_for(api.handle(context, read_request(frame, header)), timeout=10))
        _, answered = read_response(write_response(1, response)[LENGTH_BYTES:], api.key, version)
        return answered

    def join(self, group_id: str, version: int = 3, **fields: Any) -> Any:
        return self.ask(
            join_group.API,
            version,
            **{
                "group_id": group_id,
                "session_timeout": MINUTE,
                "rebalance_timeout": MINUTE,
                "member_id": "",
                "protocol_type": "consumer",
                "protocols": lambda build: (build.JoinGroupRequestProtocol(name="range", metadata=b"topics"),),
            }
            | fields,
        )

    def sync(self, group_id: str, member_id: str, version: int = 3, **fields: Any) -> Any:
        return self.ask(
            sync_group.API,
            version,
            group_id=group_id,
            generation_id=1,
            member_id=member_id,
            protocol_type="consumer",
            protocol_name="range",
            assignments=lambda build: (build.SyncGroupRequestAssignment(member_id=member_id, assignment=b"all"),),
            **fields,
        )

    def init(self, transactional_id: str, version: int = 4) -> tuple[int, int]:
        answer = self.ask(
            init_producer_id.API,
            version,
            transactional_id=transactional_id,
            transaction_timeout=MINUTE,
            producer_id=-1,
            producer_epoch=-1,
        )
        assert answer.error_code is ErrorCode.none
        return answer.producer_id, answer.producer_epoch

    def add_partitions(self, transactional_id: str, owner: tuple[int, int], *indexes: int, version: int = 3) -> Any:
        return self.transactions_in_one(version, [(transactional_id, owner, indexes, False)])[0]

    def transactions_in_one(
        self, version: int, asked: list[tuple[str, tuple[int, int], tuple[int, ...], bool]]
    ) -> list[list[tuple[int, str]]]:
        """AddPartitionsToTxn for (id, owner, partitions, verify only) each; index and error of each partition."""

        def topics(build: Any, indexes: tuple[int, ...]) -> Any:
            return (build.AddPartitionsToTxnTopic(name="a", partitions=indexes),)

        if version >= 4:
            answer = self.ask(
                add_partitions_to_txn.API,
                version,
                transactions=lambda build: tuple(
                    build.AddPartitionsToTxnTransaction(
                        transactional_id=transactional_id,
                        producer_id=owner[0],
                        producer_epoch=owner[1],
                        verify_only=verify_only,
                        topics=topics(build, indexes),
                    )
                    for transactional_id, owner, indexes, verify_only in asked
                ),
            )
            assert answer.error_code is ErrorCode.none
            assert [row.transactional_id for row in answer.results_by_transaction] == [row[0] for row in asked]
            found = [row.topic_results for row in answer.results_by_transaction]
        else:
            ((transactional_id, owner, indexes, _),) = asked
            answer = self.ask(
                add_partitions_to_txn.API,
                version,
                v3_and_below_transactional_id=transactional_id,
                v3_and_below_producer_id=owner[0],
                v3_and_below_producer_epoch=owner[1],
                v3_and_below_topics=lambda build: topics(build, indexes),
            )
            found = [answer.results_by_topic_v3_and_below]
        return [
            [
                (row.partition_index, row.partition_error_code.name)
                for topic in rows_of
                for row in topic.results_by_partition
            ]
            for rows_of in found
        ]

    def beat(self, version: int, *, topics: tuple[str, ...] | None = None, **fields: Any) -> Any:
        said = {
            "group_id": "g",
            "member_id": "member",
            "rebalance_timeout": timedelta(milliseconds=-1),
            "subscribed_topic_names": topics,
            "topic_partitions": None,
        }
        return self.ask(consumer_group_heartbeat.API, version, **(said | fields))

    def end(self, transactional_id: str, owner: tuple[int, int], *, version: int = 4) -> Any:
        return self.ask(
            end_txn.API,
            version,
            transactional_id=transactional_id,
            producer_id=owner[0],
            producer_epoch=owner[1],
            committed=True,
        )

    def fetch(self, version: int = 9, **fields: Any) -> list[tuple[str, int, int, str]]:
        """Topic, partition, offset and error of every row."""

        def topics(build: Any) -> Any:
            row = getattr(build, "OffsetFetchRequestTopics" if version >= 8 else "OffsetFetchRequestTopic")
            which = {"topic_id": topic_id_of("a")} if version >= 10 else {"name": "a"}
            return (row(**which, partition_indexes=(0, 1)),)

        if version >= 8:
            fields["groups"] = lambda build: (build.OffsetFetchRequestGroup(group_id="g", topics=topics(build)),)
        else:
            fields |= {"group_id": "g", "topics": topics}
        answer = self.ask(offset_fetch.API, version, **fields)
        answered = answer.groups[0].topics if version >= 8 else answer.topics
        return [
            (name_of(topic), row.partition_index, row.committed_offset, row.error_code.name)
            for topic in answered
            for row in topic.partitions
        ]


def name_of(row: Any) -> str:
    return "a" if getattr(row, "topic_id", None) == topic_id_of("a") else str(row.name)


def versions(api: Api) -> list[int]:
    return list(range(api.min_version, api.max_version + 1))


def in_every_version(api: Api) -> Callable[[Any], Any]:
    return pytest.mark.parametrize("version", versions(api))


def rows(answer: Any) -> list[tuple[int, str]]:
    (topic,) = answer.topics
    return [(row.partition_index, row.error_code.name) for row in topic.partitions]
