"""Which APIs this broker answers, and in which versions: ApiVersions is answered from here, so that it cannot lie.

Owns: the list of handler modules. Must not know: what they do. Handler modules import ``Api`` from ``broker.api``,
never from here.
"""

from __future__ import annotations

from typing import Final

from tallystick.broker.api import Api
from tallystick.broker.handlers import (
    api_versions,
    create_partitions,
    create_topics,
    delete_topics,
    describe_cluster,
    describe_configs,
    fetch,
    list_offsets,
    metadata,
    offset_for_leader_epoch,
    produce,
)

APIS: Final[tuple[Api, ...]] = (
    produce.API,
    fetch.API,
    list_offsets.API,
    metadata.API,
    api_versions.API,
    create_topics.API,
    delete_topics.API,
    offset_for_leader_epoch.API,
    describe_configs.API,
    create_partitions.API,
    describe_cluster.API,
)
