"""One harmless request for each API, and what alice needs for it: read by the contract suite for both brokers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from tests.support.secured import filter_fields
from tests.support.wire import nested, request

from tallystick.broker.security.acl import CLUSTER_NAME, OPERATIONS, AclFilter, Operation, ResourceType
from tallystick.wire.errors import ErrorCode
from tallystick.wire.records import BatchSpec, encode_batch

TOPIC, DOOMED_TOPIC, ABSENT_TOPIC, GROUP, IDENTITY, UNUSED_IDENTITY = (
    *("wanted", "doomed", "absent"),
    *("readers", "writer", "unused"),
)
"""All topics have the same rights, and both transactional ids."""

Right = tuple[ResourceType, Operation]
T, G, C, X = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.CLUSTER, ResourceType.TRANSACTIONAL_ID
NAMES: Final = {T: (TOPIC, DOOMED_TOPIC, ABSENT_TOPIC), G: (GROUP,), X: (IDENTITY, UNUSED_IDENTITY), C: (CLUSTER_NAME,)}
RIGHTS: Final[list[Right]] = [
    (kind, operation)
    for kind, operations in {**OPERATIONS, X: (Operation.DESCRIBE, Operation.WRITE)}.items()
    for operation in operations
]
TOPICS, GROUPS = ErrorCode.topic_authorization_failed, ErrorCode.group_authorization_failed
CLUSTER, IDS = ErrorCode.cluster_authorization_failed, ErrorCode.transactional_id_authorization_failed
REFUSALS: Final = {TOPICS, GROUPS, CLUSTER, IDS}


@dataclass(frozen=True, slots=True)
class Case:
    """A request, the rights that alice has anyhow, and which further right is enough for it, each alone.

    ``code`` refuses it. ``is_hidden`` is for answers that leave out what may not be known.
    """

    name: str
    message: Any
    code: ErrorCode
    enough: frozenset[Right]
    has: tuple[Right, ...] = ()
    is_hidden: Callable[[Any], bool] | None = None


_PRODUCER: Final[dict[str, Any]] = {"producer_id": 1, "producer_epoch": 0}


def right(kind: ResourceType, *operations: str) -> frozenset[Right]:
    return frozenset((kind, Operation[name]) for name in operations)


def describes(kind: ResourceType) -> frozenset[Right]:
    """DESCRIBE, and what implies it of that which the resource knows."""
    implying = (Operation.DESCRIBE, Operation.READ, Operation.WRITE, Operation.DELETE, Operation.ALTER)
    return frozenset(pair for pair in RIGHTS if pair[0] is kind and pair[1] in implying)


def describes_configs(kind: ResourceType) -> frozenset[Right]:
    return right(kind, "DESCRIBE_CONFIGS", "ALTER_CONFIGS")


def rows(api: str, version: int, name: str, inner: str, *, within: str = "partitions", **fields: Any) -> Any:
    """One row of the topic with one row within; ``name`` and ``inner`` are the rows' classes."""
    part = nested(api, version, inner, **fields)
    return (nested(api, version, name, **{_named_by(api): TOPIC, within: (part,)}),)


def bare_rows(api: str, version: int, name: str, *, within: str = "partitions", topic: str = TOPIC) -> Any:
    """The same, where the rows within are partition numbers."""
    return (nested(api, version, name, **{_named_by(api): topic, within: (0,)}),)


def _named_by(api: str) -> str:
    return "topic" if api in ("fetch", "offset_for_leader_epoch") else "name"


def _offsets(api: str, version: int, prefix: str) -> Any:
    fields: dict[str, Any] = {"partition_index": 0, "committed_offset": 0, "committed_metadata": None}
    return rows(api, version, f"{prefix}RequestTopic", f"{prefix}RequestPartition", **fields)


def _produce(transactional_id: str | None) -> Any:
    spec = BatchSpec() if transactional_id is None else BatchSpec(transactional=True, **_PRODUCER, base_sequence=0)
    batch = encode_batch([(None, b"x")], spec)
    data = rows(
        *("produce", 11, "TopicProduceData", "PartitionProduceData"), within="partition_data", index=0, records=batch
    )
    return request("produce", 11, transactional_id=transactional_id, acks=-1, timeout=_NO_TIME, topic_data=data)


def _delete(topic: str) -> Any:
    row = nested("delete_topics", 6, "DeleteTopicState", name=topic, topic_id=None)
    return request("delete_topics", 6, topics=(row,), timeout=_SECOND)


def _configs(kind: int, name: str) -> Any:
    row = {"resource_type": kind, "resource_name": name, "configuration_keys": ()}
    return request("describe_configs", 4, resources=(nested("describe_configs", 4, "DescribeConfigsResource", **row),))


_NO_TIME: Final = timedelta(0)
_SECOND: Final = timedelta(seconds=1)
_EVERYTHING: Final = filter_fields(AclFilter(1, None, 1, None, None, 1, 1))
_NOTHING: Final = filter_fields(AclFilter(2, "no such", 3, "User:nobody", "*", 3, 3))
_WROTE: Final = ((X, Operation.WRITE),)
_READS: Final = ((G, Operation.READ),)
_READS_TOPIC: Final = ((T, Operation.READ),)

_COMMIT: Final = request(
    *("offset_commit", 9), group_id=GROUP, member_id="", topics=_offsets("offset_commit", 9, "OffsetCommit")
)
_TXN_COMMIT: Final = request(
    *("txn_offset_commit", 3),
    transactional_id=IDENTITY,
    group_id=GROUP,
    topics=_offsets("txn_offset_commit", 3, "TxnOffsetCommit"),
    member_id="",
    **_PRODUCER,
)
_FETCH_OFFSETS: Final = request(
    *("offset_fetch", 8),
    groups=(
        nested(
            *("offset_fetch", 8, "OffsetFetchRequestGroup"),
            group_id=GROUP,
            topics=bare_rows("offset_fetch", 8, "OffsetFetchRequestTopics", within="partition_indexes"),
        ),
    ),
    require_stable=False,
)
_CONSUMER_HEARTBEAT: Final = request(
    *("consumer_group_heartbeat", 1),
    group_id=GROUP,
    member_id="nobody",
    member_epoch=0,
    rebalance_timeout=timedelta(seconds=1),
    subscribed_topic_names=(TOPIC,),
    server_assignor="there is none of this name",
    topic_partitions=(),
)
_ADD_PARTITIONS: Final = request(
    *("add_partitions_to_txn", 3),
    v3_and_below_transactional_id=IDENTITY,
    v3_and_below_producer_id=1,
    v3_and_below_producer_epoch=0,
    v3_and_below_topics=bare_rows("add_partitions_to_txn", 3, "AddPartitionsToTxnTopic"),
)
_ADD_OFFSETS: Final = request("add_offsets_to_txn", 4, transactional_id=IDENTITY, group_id=GROUP, **_PRODUCER)
_OFFSET_DELETE: Final = request(
    *("offset_delete", 0),
    group_id=GROUP,
    topics=rows("offset_delete", 0, "OffsetDeleteRequestTopic", "OffsetDeleteRequestPartition", partition_index=0),
)

CASES: Final = [
    Case("produce", _produce(None), TOPICS, right(T, "WRITE")),
    Case("produce in a transaction", _produce(IDENTITY), IDS, right(X, "WRITE"), has=((T, Operation.WRITE),)),
    Case(
        "fetch",
        request(
            *("fetch", 12),
            max_wait=_NO_TIME,
            min_bytes=0,
            session_epoch=-1,
            forgotten_topics_data=(),
            topics=rows(
                *("fetch", 12, "FetchTopic", "FetchPartition"), partition=0, fetch_offset=0, partition_max_bytes=1000
            ),
        ),
        TOPICS,
        right(T, "READ"),
    ),
    Case(
        "list_offsets",
        request(
            *("list_offsets", 9),
            replica_id=-1,
            isolation_level=0,
            topics=rows(
                *("list_offsets", 9, "ListOffsetsTopic", "ListOffsetsPartition"), partition_index=0, timestamp=-1
            ),
        ),
        TOPICS,
        describes(T),
    ),
    Case(
        "metadata",
        request(
            *("metadata", 12),
            topics=(nested("metadata", 12, "MetadataRequestTopic", name=TOPIC, topic_id=None),),
            allow_auto_topic_creation=False,
            include_topic_authorized_operations=False,
        ),
        TOPICS,
        describes(T),
    ),
    Case("offset_commit: the group", _COMMIT, GROUPS, right(G, "READ"), has=_READS_TOPIC),
    Case("offset_commit: the topic", _COMMIT, TOPICS, right(T, "READ"), has=_READS),
    Case("offset_delete: the group", _OFFSET_DELETE, GROUPS, right(G, "DELETE"), has=_READS_TOPIC),
    Case("offset_delete: the topic", _OFFSET_DELETE, TOPICS, right(T, "READ"), has=((G, Operation.DELETE),)),
    Case("offset_fetch: the group", _FETCH_OFFSETS, GROUPS, describes(G), has=_READS_TOPIC),
    Case("offset_fetch: the topic", _FETCH_OFFSETS, TOPICS, describes(T), has=_READS),
    Case(
        "find_coordinator of a group",
        request("find_coordinator", 4, key_type=0, coordinator_keys=(GROUP,)),
        GROUPS,
        describes(G),
    ),
    Case(
        "find_coordinator of a transaction",
        request("find_coordinator", 4, key_type=1, coordinator_keys=(IDENTITY,)),
        IDS,
        describes(X),
    ),
    Case(
        "join_group",
        request(
            *("join_group", 9),
            group_id=GROUP,
            session_timeout=timedelta(milliseconds=1),  # refused for being too short, by who gets that far
            rebalance_timeout=_SECOND,
            member_id="",
            protocol_type="consumer",
            protocols=(nested("join_group", 9, "JoinGroupRequestProtocol", name="range", metadata=b""),),
        ),
        GROUPS,
        right(G, "READ"),
    ),
    Case(
        "sync_group",
        request("sync_group", 3, group_id=GROUP, generation_id=1, member_id="nobody", assignments=()),
        GROUPS,
        right(G, "READ"),
    ),
    Case(
        "heartbeat",
        request("heartbeat", 4, group_id=GROUP, generation_id=1, member_id="nobody"),
        GROUPS,
        right(G, "READ"),
    ),
    Case(
        "leave_group",
        request(
            "leave_group", 4, group_id=GROUP, members=(nested("leave_group", 4, "MemberIdentity", member_id="nobody"),)
        ),
        GROUPS,
        right(G, "READ"),
    ),
    Case("consumer_group_heartbeat: the group", _CONSUMER_HEARTBEAT, GROUPS, right(G, "READ"), has=_READS_TOPIC),
    Case("consumer_group_heartbeat: the topics", _CONSUMER_HEARTBEAT, TOPICS, describes(T), has=_READS),
    Case(
        "consumer_group_describe",
        request("consumer_group_describe", 1, group_ids=(GROUP,), include_authorized_operations=False),
        GROUPS,
        describes(G),
    ),
    Case(
        "describe_groups",
        request("describe_groups", 5, groups=(GROUP,), include_authorized_operations=False),
        GROUPS,
        describes(G),
    ),
    Case(
        "list_groups",
        request("list_groups", 4, states_filter=()),
        ErrorCode.none,
        describes(G) | describes(C),
        is_hidden=lambda answer: GROUP not in [row.group_id for row in answer.groups],
    ),
    Case(
        "create_topics",
        request(
            *("create_topics", 7),
            topics=(
                nested(
                    *("create_topics", 7, "CreatableTopic"),
                    name=ABSENT_TOPIC,
                    num_partitions=1,
                    replication_factor=1,
                    assignments=(),
                    configs=(),
                ),
            ),
            timeout=_SECOND,
            validate_only=True,
        ),
        TOPICS,
        right(C, "CREATE") | right(T, "CREATE"),
    ),
    Case("delete_topics: one that is there", _delete(DOOMED_TOPIC), TOPICS, right(T, "DELETE")),
    Case("delete_topics: one that is not", _delete(ABSENT_TOPIC), TOPICS, describes(T)),
    Case(
        "init_producer_id",
        request("init_producer_id", 4, transactional_id=None, transaction_timeout=_SECOND),
        CLUSTER,
        right(C, "IDEMPOTENT_WRITE") | right(T, "WRITE"),
    ),
    Case(
        "init_producer_id of a transaction",
        request("init_producer_id", 4, transactional_id=IDENTITY, transaction_timeout=_SECOND),
        IDS,
        right(X, "WRITE"),
    ),
    Case(
        "offset_for_leader_epoch",
        request(
            *("offset_for_leader_epoch", 4),
            replica_id=-1,
            topics=rows(
                *("offset_for_leader_epoch", 4, "OffsetForLeaderTopic", "OffsetForLeaderPartition"),
                partition=0,
                current_leader_epoch=-1,
                leader_epoch=0,
            ),
        ),
        TOPICS,
        describes(T) | right(C, "CLUSTER_ACTION"),
    ),
    Case("add_partitions_to_txn: the id", _ADD_PARTITIONS, IDS, right(X, "WRITE"), has=((T, Operation.WRITE),)),
    Case("add_partitions_to_txn: the topic", _ADD_PARTITIONS, TOPICS, right(T, "WRITE"), has=_WROTE),
    Case("add_offsets_to_txn: the id", _ADD_OFFSETS, IDS, right(X, "WRITE"), has=_READS),
    Case("add_offsets_to_txn: the group", _ADD_OFFSETS, GROUPS, right(G, "READ"), has=_WROTE),
    Case(
        "end_txn",
        request("end_txn", 3, transactional_id=IDENTITY, committed=False, **_PRODUCER),
        IDS,
        right(X, "WRITE"),
    ),
    Case("txn_offset_commit: the id", _TXN_COMMIT, IDS, right(X, "WRITE"), has=(*_READS, *_READS_TOPIC)),
    Case("txn_offset_commit: the group", _TXN_COMMIT, GROUPS, right(G, "READ"), has=(*_WROTE, *_READS_TOPIC)),
    Case("txn_offset_commit: the topic", _TXN_COMMIT, TOPICS, right(T, "READ"), has=(*_WROTE, *_READS)),
    Case(
        "write_txn_markers",
        request(
            *("write_txn_markers", 1),
            markers=(
                nested(
                    *("write_txn_markers", 1, "WritableTxnMarker"),
                    transaction_result=False,
                    coordinator_epoch=0,
                    topics=bare_rows(
                        *("write_txn_markers", 1, "WritableTxnMarkerTopic"),
                        within="partition_indexes",
                        topic=ABSENT_TOPIC,
                    ),
                    **_PRODUCER,
                ),
            ),
        ),
        CLUSTER,
        right(C, "ALTER", "CLUSTER_ACTION"),
    ),
    Case("describe_acls", request("describe_acls", 3, **_EVERYTHING), CLUSTER, describes(C)),
    Case(
        "create_acls",
        request(
            *("create_acls", 3),
            creations=(
                nested(
                    *("create_acls", 3, "AclCreation"),
                    resource_type=3,
                    resource_name="x",
                    resource_pattern_type=3,
                    principal="User:nobody",
                    host="*",
                    operation=3,
                    permission_type=3,
                ),
            ),
        ),
        CLUSTER,
        right(C, "ALTER"),
    ),
    Case(
        "delete_acls",
        request("delete_acls", 3, filters=(nested("delete_acls", 3, "DeleteAclsFilter", **_NOTHING),)),
        CLUSTER,
        right(C, "ALTER"),
    ),
    Case("describe_configs of a topic", _configs(2, TOPIC), TOPICS, describes_configs(T)),
    Case("describe_configs of a broker", _configs(4, "1"), CLUSTER, describes_configs(C)),
    Case(
        "create_partitions",
        request(
            *("create_partitions", 3),
            topics=(nested("create_partitions", 3, "CreatePartitionsTopic", name=TOPIC, count=1, assignments=None),),
            timeout=_SECOND,
            validate_only=True,
        ),
        TOPICS,
        right(T, "ALTER"),
    ),
    Case("delete_groups", request("delete_groups", 2, groups_names=(GROUP,)), GROUPS, right(G, "DELETE")),
    Case(
        "describe_user_scram_credentials",
        request(  # Apache Kafka never answers a refused request for all users: it trips over the missing list
            *("describe_user_scram_credentials", 0),
            users=(nested("describe_user_scram_credentials", 0, "UserName", name="nobody"),),
        ),
        CLUSTER,
        describes(C),
    ),
    Case(
        "alter_user_scram_credentials",
        request(
            *("alter_user_scram_credentials", 0),
            deletions=(
                nested("alter_user_scram_credentials", 0, "ScramCredentialDeletion", name="nobody", mechanism=1),
            ),
            upsertions=(),
        ),
        CLUSTER,
        right(C, "ALTER"),
    ),
    Case(
        "describe_producers",
        request(
            *("describe_producers", 0),
            topics=bare_rows("describe_producers", 0, "TopicRequest", within="partition_indexes"),
        ),
        TOPICS,
        right(T, "READ"),
    ),
    Case(
        "describe_transactions",
        request("describe_transactions", 0, transactional_ids=(UNUSED_IDENTITY,)),
        IDS,
        describes(X),
    ),
]
