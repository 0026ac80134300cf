"""The coordinators' APIs in every version that is advertised: through kio's bytes and back."""

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
    add_offsets_to_txn,
    add_partitions_to_txn,
    consumer_group_describe,
    consumer_group_heartbeat,
    delete_groups,
    describe_groups,
    describe_transactions,
    end_txn,
    find_coordinator,
    heartbeat,
    init_producer_id,
    join_group,
    leave_group,
    list_groups,
    list_transactions,
    offset_commit,
    offset_delete,
    offset_fetch,
    sync_group,
    txn_offset_commit,
)
from tallystick.broker.node import Node
from tallystick.broker.ports import JournalRecord
from tallystick.broker.registry import APIS
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
    """A journal in memory: a list has the one method that it takes."""


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
            (_name(topic), row.partition_index, row.committed_offset, row.error_code.name)
            for topic in answered
            for row in topic.partitions
        ]


def _name(row: Any) -> str:
    return "a" if getattr(row, "topic_id", None) == topic_id_of("a") else str(row.name)


@pytest.fixture
def talk() -> Talk:
    return Talk()


def versions(api: Api) -> list[int]:
    return list(range(api.min_version, api.max_version + 1))


def in_every_version(api: Api) -> Callable[[Any], Any]:
    return pytest.mark.parametrize("version", versions(api))


def offsets(build: Any, prefix: str) -> Any:
    partition = getattr(build, f"{prefix}RequestPartition")(
        partition_index=1, committed_offset=42, committed_leader_epoch=0, committed_metadata=None
    )
    unknown = getattr(build, f"{prefix}RequestPartition")(
        partition_index=9, committed_offset=42, committed_leader_epoch=0, committed_metadata=""
    )
    row_type = getattr(build, f"{prefix}RequestTopic")
    try:
        return (row_type(name="a", partitions=(partition, unknown)),)
    except TypeError:
        return (row_type(topic_id=topic_id_of("a"), partitions=(partition, unknown)),)


COMMITTED = [(1, "none"), (9, "unknown_topic_or_partition")]


def rows(answer: Any) -> list[tuple[int, str]]:
    (topic,) = answer.topics
    return [(row.partition_index, row.error_code.name) for row in topic.partitions]


@in_every_version(find_coordinator.API)
@pytest.mark.parametrize("key_type", [0, 1, 2])
def test_find_coordinator(talk: Talk, version: int, key_type: int) -> None:
    answer = talk.ask(find_coordinator.API, version, key="g", coordinator_keys=("g", "h"), key_type=key_type)
    found = answer.coordinators if version >= 4 else [answer]
    known = key_type < 2 or version == 0  # version 0 knows groups only
    assert {(row.node_id, row.error_code.name) for row in found} == {(1, "none") if known else (-1, "invalid_request")}
    assert version < 4 or [row.key for row in found] == ["g", "h"]


@in_every_version(init_producer_id.API)
def test_init_producer_id(talk: Talk, version: int) -> None:
    assert talk.init("t", version)[1] == 0
    assert talk.init("t", version)[1] == 1
    answer = talk.ask(init_producer_id.API, version, transactional_id=None, transaction_timeout=MINUTE)
    assert (answer.error_code.name, answer.producer_epoch) == ("none", 0)


@pytest.mark.parametrize(("version", "expected"), [(3, "invalid_producer_epoch"), (4, "producer_fenced")])
def test_a_fenced_initialisation_has_the_name_that_its_version_knows(talk: Talk, version: int, expected: str) -> None:
    producer_id, _ = talk.init("t")
    talk.init("t")
    answer = talk.ask(
        init_producer_id.API,
        version,
        transactional_id="t",
        transaction_timeout=MINUTE,
        producer_id=producer_id,
        producer_epoch=0,
    )
    assert answer.error_code.name == expected


@in_every_version(add_partitions_to_txn.API)
def test_add_partitions_to_txn(talk: Talk, version: int) -> None:
    owner = talk.init("t")
    assert talk.add_partitions("t", owner, 0, 1, version=version) == [(0, "none"), (1, "none")]
    assert talk.add_partitions("t", owner, 0, 7, version=version) == [
        (0, "operation_not_attempted"),
        (7, "unknown_topic_or_partition"),
    ]
    talk.init("t")
    fenced = "producer_fenced" if version >= 2 else "invalid_producer_epoch"
    assert talk.add_partitions("t", owner, 0, version=version) == [(0, fenced)]


@in_every_version(add_offsets_to_txn.API)
def test_add_offsets_to_txn(talk: Talk, version: int) -> None:
    producer_id, epoch = talk.init("t")
    fields = {"transactional_id": "t", "producer_id": producer_id, "producer_epoch": epoch, "group_id": "g"}
    assert talk.ask(add_offsets_to_txn.API, version, **fields).error_code is ErrorCode.none
    talk.init("t")
    fenced = "producer_fenced" if version >= 2 else "invalid_producer_epoch"
    assert talk.ask(add_offsets_to_txn.API, version, **fields).error_code.name == fenced


def test_brokers_add_and_verify_several_transactions_in_one_request(talk: Talk) -> None:
    open_one, other = talk.init("open"), talk.init("other")
    talk.add_partitions("open", open_one, 0)
    stranger = (other[0] + 1000, 0)
    answered = talk.transactions_in_one(
        5,
        [
            ("open", open_one, (0, 1), True),
            ("other", other, (0, 1), False),
            ("other", (other[0], other[1] + 1), (0,), True),
            ("other", stranger, (0,), True),
            ("unknown", other, (0,), False),
            ("open", open_one, (1, 9), False),
        ],
    )
    assert answered == [
        [(0, "none"), (1, "transaction_abortable")],
        [(0, "none"), (1, "none")],
        [(0, "producer_fenced")],
        [(0, "invalid_producer_id_mapping")],
        [(0, "invalid_producer_id_mapping")],
        [(1, "operation_not_attempted"), (9, "unknown_topic_or_partition")],
    ]
    assert talk.transactions_in_one(4, [("other", other, (1,), True)]) == [[(1, "none")]]


@in_every_version(end_txn.API)
def test_end_txn(talk: Talk, version: int) -> None:
    producer_id, epoch = owner = talk.init("t")
    talk.add_partitions("t", owner, 0)
    for _ in ("first", "retry"):
        answer = talk.end("t", owner, version=version)
        assert answer.error_code is ErrorCode.none
        if version >= 5:
            assert (answer.producer_id, answer.producer_epoch) == (producer_id, epoch + 1)
    talk.init("t")
    fenced = "producer_fenced" if version >= 2 else "invalid_producer_epoch"
    assert talk.end("t", owner, version=version).error_code.name == fenced


@in_every_version(txn_offset_commit.API)
def test_txn_offset_commit(talk: Talk, version: int) -> None:
    producer_id, epoch = talk.init("t")
    fields = {
        "transactional_id": "t",
        "group_id": "g",
        "producer_id": producer_id,
        "producer_epoch": epoch,
        "topics": lambda build: offsets(build, "TxnOffsetCommit"),
    }
    if version < 5:
        refused = talk.ask(txn_offset_commit.API, version, **fields)
        code = "transaction_abortable" if version == 4 else "invalid_txn_state"
        assert rows(refused) == [(1, code), (9, code)]
        added = {"transactional_id": "t", "producer_id": producer_id, "producer_epoch": epoch, "group_id": "g"}
        talk.ask(add_offsets_to_txn.API, 3, **added)
    assert rows(talk.ask(txn_offset_commit.API, version, **fields)) == COMMITTED
    assert talk.fetch(require_stable=True) == [("a", 0, -1, "none"), ("a", 1, -1, "unstable_offset_commit")]
    talk.end("t", (producer_id, epoch), version=version)
    assert talk.fetch(require_stable=True) == [("a", 0, -1, "none"), ("a", 1, 42, "none")]
    talk.init("t")
    assert rows(talk.ask(txn_offset_commit.API, version, **fields))[0] == (1, "invalid_producer_epoch")


def test_txn_offset_commit_is_fenced_by_member_and_generation(talk: Talk) -> None:
    member_id = talk.join("g").member_id
    talk.sync("g", member_id)
    producer_id, epoch = talk.init("t")
    added = {"transactional_id": "t", "producer_id": producer_id, "producer_epoch": epoch, "group_id": "g"}
    talk.ask(add_offsets_to_txn.API, 3, **added)
    for member, generation_id, expected in (
        (member_id, 1, "none"),
        (member_id, 0, "illegal_generation"),
        ("stranger", 1, "unknown_member_id"),
    ):
        answer = talk.ask(
            txn_offset_commit.API,
            3,
            topics=lambda build: offsets(build, "TxnOffsetCommit"),
            member_id=member,
            generation_id=generation_id,
            **added,
        )
        assert rows(answer)[0] == (1, expected)


@in_every_version(join_group.API)
def test_join_group(talk: Talk, version: int) -> None:
    answer = talk.join("g", version)
    if version >= 4:
        assert (answer.error_code.name, answer.generation_id) == ("member_id_required", -1)
        answer = talk.join("g", version, member_id=answer.member_id)
    assert (answer.error_code.name, answer.generation_id, answer.protocol_name) == ("none", 1, "range")
    assert answer.leader == answer.member_id
    assert [(member.member_id, member.metadata) for member in answer.members] == [(answer.member_id, b"topics")]
    refused = talk.join("g", version, member_id="stranger")
    assert (refused.error_code.name, refused.member_id) == ("unknown_member_id", "stranger")


@in_every_version(sync_group.API)
def test_sync_group(talk: Talk, version: int) -> None:
    member_id = talk.join("g").member_id
    answer = talk.sync("g", member_id, version)
    assert (answer.error_code.name, answer.assignment) == ("none", b"all")
    assert talk.sync("g", "stranger", version).error_code.name == "unknown_member_id"


@in_every_version(heartbeat.API)
def test_heartbeat(talk: Talk, version: int) -> None:
    member_id = talk.join("g").member_id
    for generation_id, expected in ((1, "none"), (2, "illegal_generation")):
        answer = talk.ask(heartbeat.API, version, group_id="g", generation_id=generation_id, member_id=member_id)
        assert answer.error_code.name == expected


@in_every_version(leave_group.API)
def test_leave_group(talk: Talk, version: int) -> None:
    member_id = talk.join("g").member_id
    fields: dict[str, Any] = {"group_id": "g", "member_id": member_id}
    if version >= 3:
        fields = {
            "group_id": "g",
            "members": lambda build: (
                build.MemberIdentity(member_id=member_id, group_instance_id=None),
                build.MemberIdentity(member_id="stranger", group_instance_id=None),
            ),
        }
    answer = talk.ask(leave_group.API, version, **fields)
    assert answer.error_code is ErrorCode.none
    assert version < 3 or [row.error_code.name for row in answer.members] == ["none", "unknown_member_id"]
    if version < 3:
        assert talk.ask(leave_group.API, version, **fields).error_code.name == "unknown_member_id"
    nameless = fields | {"group_id": ""}
    assert talk.ask(leave_group.API, version, **nameless).error_code.name == "invalid_group_id"


@in_every_version(offset_commit.API)
def test_offset_commit(talk: Talk, version: int) -> None:
    answer = talk.ask(
        offset_commit.API,
        version,
        group_id="g",
        generation_id_or_member_epoch=-1,
        member_id="",
        topics=lambda build: offsets(build, "OffsetCommit"),
    )
    assert rows(answer) == COMMITTED


@in_every_version(offset_fetch.API)
def test_offset_fetch(talk: Talk, version: int) -> None:
    assert talk.fetch(version) == [("a", 0, -1, "none"), ("a", 1, -1, "none")]
    test_offset_commit(talk, 9)
    assert talk.fetch(version) == [("a", 0, -1, "none"), ("a", 1, 42, "none")]


@pytest.mark.parametrize("version", [v for v in versions(offset_fetch.API) if v >= 2])
def test_offset_fetch_of_everything(talk: Talk, version: int) -> None:
    test_offset_commit(talk, 9)
    if version >= 8:
        fields: dict[str, Any] = {"groups": lambda build: (build.OffsetFetchRequestGroup(group_id="g", topics=None),)}
    else:
        fields = {"group_id": "g", "topics": None}
    answer = talk.ask(offset_fetch.API, version, **fields)
    (topic,) = answer.groups[0].topics if version >= 8 else answer.topics
    assert [(_name(topic), row.partition_index, row.committed_offset) for row in topic.partitions] == [("a", 1, 42)]


def test_offset_delete(talk: Talk) -> None:
    test_offset_commit(talk, 9)

    def topics(build: Any) -> Any:
        return (
            build.OffsetDeleteRequestTopic(
                name="a", partitions=(build.OffsetDeleteRequestPartition(partition_index=1),)
            ),
        )

    answer = talk.ask(offset_delete.API, 0, group_id="g", topics=topics)
    assert (answer.error_code.name, rows(answer)) == ("none", [(1, "none")])
    assert talk.fetch()[1] == ("a", 1, -1, "none")
    assert talk.ask(offset_delete.API, 0, group_id="x", topics=topics).error_code.name == "group_id_not_found"


@in_every_version(consumer_group_heartbeat.API)
def test_consumer_group_heartbeat(talk: Talk, version: int) -> None:
    answer = talk.beat(version, member_epoch=0, rebalance_timeout=MINUTE, topics=("a",), topic_partitions=())
    assert (answer.error_code.name, answer.member_epoch, answer.heartbeat_interval) == ("none", 2, SECONDS_5)
    (given,) = answer.assignment.topic_partitions
    assert (given.topic_id, given.partitions) == (topic_id_of("a"), (0, 1))
    answer = talk.beat(version, member_epoch=7)
    assert (answer.error_code.name, answer.member_id, answer.assignment) == ("fenced_member_epoch", None, None)


def test_a_member_that_brings_no_id_is_given_one_in_version_0(talk: Talk) -> None:
    fields: dict[str, Any] = {"member_epoch": 0, "rebalance_timeout": MINUTE, "topics": ("a",), "topic_partitions": ()}
    assert talk.beat(0, member_id="", **fields).member_id
    assert talk.beat(1, member_id="", **fields).error_code.name == "invalid_request"


@in_every_version(consumer_group_describe.API)
def test_consumer_group_describe(talk: Talk, version: int) -> None:
    talk.beat(1, member_epoch=0, rebalance_timeout=MINUTE, topics=("a", "b"), topic_partitions=())
    talk.join("classic")
    found, classic, unknown = talk.ask(
        consumer_group_describe.API, version, group_ids=("g", "classic", "unknown"), include_authorized_operations=False
    ).groups
    assert (found.group_state, found.group_epoch, found.assignment_epoch, found.assignor_name) == (
        *("Stable", 2, 2),
        "uniform",
    )
    (member,) = found.members
    assert (member.member_id, member.member_epoch, member.subscribed_topic_names) == ("member", 2, ("a", "b"))
    for assignment in (member.assignment, member.target_assignment):
        assert [(row.topic_name, row.partitions) for row in assignment.topic_partitions] == [("a", (0, 1))]
    assert [row.error_code.name for row in (classic, unknown)] == ["group_id_not_found", "group_id_not_found"]


def test_groups_of_both_protocols_are_listed_by_type_and_described_by_their_own_api(talk: Talk) -> None:
    talk.beat(1, member_epoch=0, rebalance_timeout=MINUTE, topics=("a",), topic_partitions=())
    talk.join("classic")
    for group_type, group_id in (("Consumer", "g"), ("classic", "classic")):
        (row,) = talk.ask(list_groups.API, 5, types_filter=(group_type,)).groups
        assert (row.group_id, row.protocol_type, row.group_type) == (group_id, "consumer", group_type.lower())
    (row,) = talk.ask(describe_groups.API, 6, groups=("g",), include_authorized_operations=False).groups
    assert (row.error_code.name, row.group_state) == ("group_id_not_found", "Dead")


def test_topics_whose_id_is_unknown_are_answered_as_such(talk: Talk) -> None:
    commit = talk.ask(
        offset_commit.API,
        10,
        group_id="g",
        generation_id_or_member_epoch=-1,
        member_id="",
        topics=lambda build: (
            build.OffsetCommitRequestTopic(
                topic_id=uuid.uuid4(),
                partitions=(
                    build.OffsetCommitRequestPartition(partition_index=0, committed_offset=1, committed_metadata=""),
                ),
            ),
        ),
    )
    assert rows(commit) == [(0, "unknown_topic_id")]
    fetch = talk.ask(
        offset_fetch.API,
        10,
        groups=lambda build: (
            build.OffsetFetchRequestGroup(
                group_id="g",
                topics=(build.OffsetFetchRequestTopics(topic_id=uuid.uuid4(), partition_indexes=(0,)),),
            ),
        ),
    )
    assert rows(fetch.groups[0]) == [(0, "unknown_topic_id")]


@in_every_version(list_groups.API)
def test_list_groups(talk: Talk, version: int) -> None:
    talk.join("g")
    (group,) = talk.ask(list_groups.API, version).groups
    assert (group.group_id, group.protocol_type) == ("g", "consumer")
    if version >= 4:
        assert group.group_state == "CompletingRebalance"
        assert talk.ask(list_groups.API, version, states_filter=("Stable",)).groups == ()
    if version >= 5:
        assert group.group_type == "classic"
        assert talk.ask(list_groups.API, version, types_filter=("consumer",)).groups == ()


@in_every_version(describe_groups.API)
def test_describe_groups(talk: Talk, version: int) -> None:
    member_id = talk.join("g").member_id
    talk.sync("g", member_id)
    fields = {"groups": ("g", "unknown"), "include_authorized_operations": False}
    known, unknown = talk.ask(describe_groups.API, version, **fields).groups
    assert (known.group_state, known.protocol_data) == ("Stable", "range")
    (member,) = known.members
    assert (member.member_id, member.member_metadata, member.member_assignment) == (member_id, b"topics", b"all")
    assert unknown.group_state == "Dead"
    assert unknown.error_code.name == ("group_id_not_found" if version >= 6 else "none")


@in_every_version(delete_groups.API)
def test_delete_groups(talk: Talk, version: int) -> None:
    talk.join("members")
    test_offset_commit(talk, 9)
    results = talk.ask(delete_groups.API, version, groups_names=("g", "members", "unknown")).results
    assert {row.group_id: row.error_code.name for row in results} == {
        "g": "none",
        "members": "non_empty_group",
        "unknown": "group_id_not_found",
    }


@in_every_version(list_transactions.API)
def test_list_transactions(talk: Talk, version: int) -> None:
    owner = talk.init("open")
    talk.init("idle")
    talk.add_partitions("open", owner, 0)
    everything: dict[str, Any] = {"state_filters": (), "producer_id_filters": ()}
    answer = talk.ask(list_transactions.API, version, **everything)
    assert {(row.transactional_id, row.transaction_state) for row in answer.transaction_states} == {
        ("open", "Ongoing"),
        ("idle", "Empty"),
    }
    chosen = talk.ask(list_transactions.API, version, **(everything | {"state_filters": ("Empty", "Odd")}))
    assert [row.transactional_id for row in chosen.transaction_states] == ["idle"]
    assert chosen.unknown_state_filters == ("Odd",)


def test_describe_transactions(talk: Talk) -> None:
    """An id without an open transaction has start time -1, as in Apache Kafka, which kio writes but does not read."""
    owner = talk.init("open")
    talk.add_partitions("open", owner, 0, 1)
    found = talk.ask(describe_transactions.API, 0, transactional_ids=("open", "unknown")).transaction_states
    assert [(row.error_code.name, row.transaction_state) for row in found] == [
        ("none", "Ongoing"),
        ("transactional_id_not_found", ""),
    ]
    assert [(topic.topic, topic.partitions) for topic in found[0].topics] == [("a", (0, 1))]


def test_every_handler_of_the_coordinators_is_registered() -> None:
    registered = {api.key for api in APIS}
    assert registered >= {8, 9, 10, 11, 12, 13, 14, 15, 16, 22, 24, 25, 26, 28, 42, 47, 65, 66}
