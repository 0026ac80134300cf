"""Topics, groups and worker processes of a trial: made under one prefix, and removed with it.

Owns: what is left on the cluster. Must not know: when.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from tallystick.errors import TallystickError
from tallystick.operate import ClientSettings, Cluster
from tallystick.operate.groups import describe_group
from tallystick.pipeline import Guarantee
from tallystick.verify.trial.settings import SESSION_TIMEOUT_MS, TRANSACTION_TIMEOUT_MS, TrialSettings
from tallystick.verify.trial.site import Site
from tallystick.verify.worker import WorkerPlace
from tallystick.verify.worker_process import WorkerProcess
from tallystick.verify.workloads import WITH_STATE, WorkloadSettings

_ADMIN_TIMEOUT_S: Final = 30.0
_CLUSTERS_OWN: Final = -1
"""Replication as the cluster has it by default: only that can be kept everywhere."""


def workload_of(settings: TrialSettings, name: str, site: Site, *, folder: Path) -> WorkloadSettings:
    """The workload as its workers are told of it."""
    return WorkloadSettings(
        name=name,
        shape=settings.workload,
        guarantee=settings.guarantee,
        partitions=settings.partitions,
        database_url=site.database_url,
        state_dir=str(folder / "state") if settings.workload in WITH_STATE else None,
    )


def make_topics(client: Mapping[str, str], workload: WorkloadSettings) -> None:
    """Source and sinks. Raises ``KafkaException``."""
    admin = AdminClient({**client, "log_level": 2})
    topics = [
        NewTopic(name, workload.partitions, replication_factor=_CLUSTERS_OWN)
        for name in (*workload.sources, *workload.sinks)
    ]
    for future in admin.create_topics(topics, operation_timeout=_ADMIN_TIMEOUT_S).values():
        future.result(_ADMIN_TIMEOUT_S)


def members(site: Site, group: str) -> int:
    """How many are in a group that stands; 0 while it, or its coordinator, moves.

    Asked without an ``AdminClient``: one that lives through kills of the broker may hang for ever when it is let go
    of (librdkafka 2.16, ``rd_kafka_destroy`` joins a broker's thread that does not end).
    """
    try:
        with Cluster(ClientSettings.from_properties(site.bootstrap, site.client)) as cluster:
            found = describe_group(cluster, group)
    except TallystickError:
        return 0
    return len(found.members) if found.state.lower() == "stable" else 0


def remove_topics(client: Mapping[str, str], workload: WorkloadSettings) -> None:
    """All that the prefix has; one that is not there, or a cluster that is gone, is no error."""
    admin = AdminClient({**client, "log_level": 0})
    with contextlib.suppress(KafkaException):
        found = admin.list_topics(timeout=_ADMIN_TIMEOUT_S).topics
        names = [name for name in found if name.startswith(f"{workload.name}.")]
        for future in admin.delete_topics(names, operation_timeout=_ADMIN_TIMEOUT_S).values() if names else ():
            with contextlib.suppress(KafkaException):
                future.result(_ADMIN_TIMEOUT_S)


def remove_groups(client: Mapping[str, str], workload: WorkloadSettings) -> None:
    """The workers' group. Static members that left in order stay in it until their session ends: then it is kept."""
    admin = AdminClient({**client, "log_level": 0})
    for future in admin.delete_consumer_groups([workload.group], request_timeout=_ADMIN_TIMEOUT_S).values():
        with contextlib.suppress(KafkaException):
            future.result(_ADMIN_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Place:
    """One slot: our worker's place, and the foreign application's command and environment instead of it."""

    worker: WorkerPlace
    command: tuple[str, ...] | None = None
    environment: Mapping[str, str] | None = None

    def process(self, workload: WorkloadSettings, *, folder: Path, kill_log: Path) -> WorkerProcess:
        more = {**(self.environment or {})}
        if self.command is not None:
            more |= {
                "VERIFY_SOURCE": workload.source,
                "VERIFY_SINK": workload.sinks[0],
                "VERIFY_GROUP": workload.group,
            }
        return WorkerProcess(workload, self.worker, folder=folder, kill_log=kill_log, command=self.command, more=more)


def worker_place(settings: TrialSettings, site: Site, number: int, *, folder: Path) -> Place:
    """Where the worker of that number runs."""
    slot = f"slot-{number}"
    security: dict[str, str | int] = {**site.client}
    impatient: dict[str, str | int] = {"socket.timeout.ms": 5_000}
    producer: dict[str, str | int] = {}
    if settings.guarantee is Guarantee.EXACTLY_ONCE:
        producer = {"transaction.timeout.ms": TRANSACTION_TIMEOUT_MS}
    worker = WorkerPlace(
        bootstrap=site.clients_bootstrap,
        slot=slot,
        batch_records=settings.batch_records,
        stats_dir=str(folder / "stats"),
        lanes=settings.lanes,
        consumer_config=security | impatient | {"session.timeout.ms": SESSION_TIMEOUT_MS},
        producer_config=security | impatient | producer,
    )
    if settings.application is None:
        return Place(worker)
    environment = {"VERIFY_BOOTSTRAP": site.clients_bootstrap, "VERIFY_SLOT": slot}
    return Place(worker, tuple(shlex.split(settings.application)), environment)
