"""The coordinators' APIs in every version that is advertised: through kio's bytes and back."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.catalog import topic_id_of
from tests.unit.broker.handlers.talk import MINUTE, Talk, in_every_version, name_of, rows, versions

from tallystick.broker.handlers import (
    add_offsets_to_txn,
    add_partitions_to_txn,
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
from tallystick.broker.registry import APIS
from tallystick.wire.errors import ErrorCode


@pytest.fixture
def talk() -> Talk:
    return Talk()


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
    assert [(name_of(topic), row.partition_index, row.committed_offset) for row in topic.partitions] == [("a", 1, 42)]


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
