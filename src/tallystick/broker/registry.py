"""Which APIs this broker answers, and in which versions: ApiVersions is answered from here, so that it cannot lie.

Owns: the list of handler modules. Must not know: what they do. Handler modules import ``Api`` from ``broker.api``,
never from here.
"""

from __future__ import annotations

from typing import Final

from tallystick.broker.api import Api
from tallystick.broker.handlers import (
    add_offsets_to_txn,
    add_partitions_to_txn,
    alter_user_scram_credentials,
    api_versions,
    create_partitions,
    create_topics,
    delete_groups,
    delete_topics,
    describe_cluster,
    describe_configs,
    describe_groups,
    describe_producers,
    describe_transactions,
    describe_user_scram_credentials,
    end_txn,
    fetch,
    find_coordinator,
    heartbeat,
    init_producer_id,
    join_group,
    leave_group,
    list_groups,
    list_offsets,
    list_transactions,
    metadata,
    offset_commit,
    offset_delete,
    offset_fetch,
    offset_for_leader_epoch,
    produce,
    sasl_authenticate,
    sasl_handshake,
    sync_group,
    txn_offset_commit,
    update_features,
    write_txn_markers,
)

APIS: Final[tuple[Api, ...]] = tuple(
    sorted(
        (
            add_offsets_to_txn.API,
            add_partitions_to_txn.API,
            alter_user_scram_credentials.API,
            api_versions.API,
            create_partitions.API,
            create_topics.API,
            delete_groups.API,
            delete_topics.API,
            describe_cluster.API,
            describe_configs.API,
            describe_groups.API,
            describe_producers.API,
            describe_transactions.API,
            describe_user_scram_credentials.API,
            end_txn.API,
            fetch.API,
            find_coordinator.API,
            heartbeat.API,
            init_producer_id.API,
            join_group.API,
            leave_group.API,
            list_groups.API,
            list_offsets.API,
            list_transactions.API,
            metadata.API,
            offset_commit.API,
            offset_delete.API,
            offset_fetch.API,
            offset_for_leader_epoch.API,
            produce.API,
            sasl_authenticate.API,
            sasl_handshake.API,
            sync_group.API,
            txn_offset_commit.API,
            update_features.API,
            write_txn_markers.API,
        ),
        key=lambda api: api.key,
    )
)
