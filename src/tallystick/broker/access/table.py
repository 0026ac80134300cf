"""Which API needs what, as Apache Kafka's brokers ask for it.

Owns: the table. Must not know: how a check is done. A test walks the registry: an API that is not here fails it, and
until it is here, it needs ALTER on the cluster.
"""

from __future__ import annotations

from typing import Final

from tallystick.broker.access import groups as of_groups
from tallystick.broker.access import topics as of_topics
from tallystick.broker.access import transactions as of_transactions
from tallystick.broker.access.configs import Configs
from tallystick.broker.access.coordinators import found_coordinators
from tallystick.broker.access.guard import (
    Access,
    Rows,
    UnlessOnCluster,
    cluster,
    existing_topic,
    group,
    groups,
    guarded,
    itself,
    topics,
    transactional_id,
)
from tallystick.broker.api import Api
from tallystick.broker.security.acl import Operation, ResourceType
from tallystick.broker.security.authorizer import Authorizer
from tallystick.wire.errors import ErrorCode

OPEN: Final = Access()
"""Everybody who got in may ask this."""

UNDECLARED: Final = Access((cluster(Operation.ALTER),))
"""What an API needs that is not in the table."""

ACCESS: Final[dict[str, Access]] = {
    "add_offsets_to_txn": Access((transactional_id(Operation.WRITE), group(Operation.READ))),
    "add_partitions_to_txn": Access((of_transactions.added_partitions,)),
    "alter_client_quotas": Access((cluster(Operation.ALTER_CONFIGS),)),
    "alter_configs": Access((Configs(Operation.ALTER_CONFIGS, "responses"),)),
    "alter_partition_reassignments": Access((cluster(Operation.ALTER),)),
    "alter_replica_log_dirs": Access((of_topics.moved_partitions,)),
    "alter_user_scram_credentials": Access((cluster(Operation.ALTER),)),
    "api_versions": OPEN,
    "consumer_group_describe": Access(
        (groups(Operation.DESCRIBE, source="group_ids", into="groups"),), (of_groups.members_topics,)
    ),
    "consumer_group_heartbeat": Access((group(Operation.READ), of_groups.subscribed_topics)),
    "create_acls": Access((cluster(Operation.ALTER),)),
    "create_delegation_token": OPEN,
    "create_partitions": Access((topics(Operation.ALTER, into="results"),)),
    "create_topics": Access(
        (UnlessOnCluster(Operation.CREATE, topics(Operation.CREATE)),), (of_topics.created_topics_configs,)
    ),
    "delete_acls": Access((cluster(Operation.ALTER),)),
    "delete_groups": Access((groups(Operation.DELETE, source="groups_names", into="results"),)),
    "delete_records": Access((topics(Operation.DELETE),)),
    "delete_topics": Access(
        (
            topics(Operation.DESCRIBE, into="responses"),
            topics(Operation.DESCRIBE, source="topic_names", into="responses"),
            topics(Operation.DELETE, into="responses", name=existing_topic),
            topics(Operation.DELETE, source="topic_names", into="responses", name=existing_topic),
        )
    ),
    "describe_acls": Access((cluster(Operation.DESCRIBE),)),
    "describe_client_quotas": Access((cluster(Operation.DESCRIBE_CONFIGS),)),
    "describe_cluster": OPEN,
    "describe_configs": Access((Configs(Operation.DESCRIBE_CONFIGS, "results"),)),
    "describe_delegation_token": OPEN,
    "describe_groups": Access((groups(Operation.DESCRIBE, source="groups", into="groups"),)),
    "describe_log_dirs": Access((cluster(Operation.DESCRIBE),)),
    "describe_producers": Access((topics(Operation.READ),)),
    "describe_quorum": Access((cluster(Operation.DESCRIBE),)),
    "describe_topic_partitions": Access((of_topics.described_topics,)),
    "describe_transactions": Access(
        (
            Rows(
                "transactional_ids",
                "transaction_states",
                Operation.DESCRIBE,
                ResourceType.TRANSACTIONAL_ID,
                itself,
                ErrorCode.transactional_id_authorization_failed,
            ),
        ),
        (of_transactions.told_topics,),
    ),
    "describe_user_scram_credentials": Access((cluster(Operation.DESCRIBE),)),
    "elect_leaders": Access((cluster(Operation.ALTER),)),
    "end_txn": Access((transactional_id(Operation.WRITE),)),
    "expire_delegation_token": OPEN,
    "fetch": Access((of_topics.read_topics,), (of_topics.told_records,)),
    "find_coordinator": Access((found_coordinators,)),
    "get_telemetry_subscriptions": OPEN,
    "heartbeat": Access((group(Operation.READ),)),
    "incremental_alter_configs": Access((Configs(Operation.ALTER_CONFIGS, "responses"),)),
    "init_producer_id": Access((of_transactions.idempotent_write,)),
    "join_group": Access((group(Operation.READ),)),
    "leave_group": Access((group(Operation.READ),)),
    "list_config_resources": Access((cluster(Operation.DESCRIBE_CONFIGS),)),
    "list_groups": Access((), (of_groups.listed_groups,)),
    "list_offsets": Access((topics(Operation.DESCRIBE),)),
    "list_partition_reassignments": Access((cluster(Operation.DESCRIBE),)),
    "list_transactions": Access((), (of_transactions.listed_transactions,)),
    "metadata": Access((of_topics.metadata_topics,), (of_topics.told_topics,)),
    "offset_commit": Access((group(Operation.READ), topics(Operation.READ))),
    "offset_delete": Access((group(Operation.DELETE), topics(Operation.READ))),
    "offset_fetch": Access((of_groups.fetched_groups,), (of_groups.fetched_offsets,)),
    "offset_for_leader_epoch": Access((UnlessOnCluster(Operation.CLUSTER_ACTION, topics(Operation.DESCRIBE)),)),
    "produce": Access(
        (transactional_id(Operation.WRITE), topics(Operation.WRITE, source="topic_data", into="responses"))
    ),
    "push_telemetry": OPEN,
    "renew_delegation_token": OPEN,
    "sasl_authenticate": OPEN,
    "sasl_handshake": OPEN,
    "sync_group": Access((group(Operation.READ),)),
    "txn_offset_commit": Access((transactional_id(Operation.WRITE), group(Operation.READ), topics(Operation.READ))),
    "unregister_broker": Access((cluster(Operation.ALTER),)),
    "update_features": Access((cluster(Operation.ALTER),)),
    "write_txn_markers": Access((cluster(Operation.ALTER, Operation.CLUSTER_ACTION),)),
}


def guarded_by_table(apis: tuple[Api, ...], authorizer: Authorizer) -> tuple[Api, ...]:
    """The APIs, each behind what it needs."""
    return tuple(guarded(api, ACCESS.get(api.name, UNDECLARED), authorizer) for api in apis)
