"""``tallystick doctor``: do this Kafka and this database belong together?

Owns: asking Kafka what ``boundary.doctor`` wants to know. Must not know: what is wrong; ``examine`` says it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tallystick.cli.inbox import Database
from tallystick.cli.operate.options import AsJson, Bootstrap, CommandConfig, librdkafka_settings, opened
from tallystick.cli.operate.screen import show
from tallystick.ids import EVENT_ID_HEADER, PositionIds, parse_event_id

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tallystick.boundary.doctor import Finding, KafkaSide, Place, SqlSide
    from tallystick.operate import Cluster
    from tallystick.pipeline.records import Record

_MOST_RECORDS: Final = 10_000
"""Read of one partition, to see whether the inbox knows them."""


def doctor(
    database: Database,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", help="Consumer group that fills the inboxes: application.step. Repeatable."),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Take the cluster's topics for those that SQL knows, from now on.")
    ] = False,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether Kafka and SQL belong together, before anything runs.

    After a restore from a backup, each side looks healthy by itself. This holds the inbox against the ends of the
    logs and the groups' offsets, the outbox against its position, ids of cluster and topics against those that were
    seen first, and the clocks against each other. It changes nothing but to remember ids that it sees first.

    Exit code 0: go on. 1: an error was found, and starting would lose or repeat something.
    """
    findings = examined(database, group or [], bootstrap=bootstrap, command_config=command_config, accept=accept)
    rows = [(one.severity.value, one.code, one.place, one.what, one.remedy) for one in findings]
    show(("Severity", "Code", "Place", "What", "Remedy"), rows, as_json=as_json, empty="Kafka and SQL fit together")
    if errors(findings):
        raise typer.Exit(1)


def errors(findings: Sequence[Finding]) -> list[Finding]:
    """Those with which starting would lose or repeat something."""
    from tallystick.boundary.doctor import Severity

    return [finding for finding in findings if finding.severity is Severity.ERROR]


def examined(
    database: str, groups: Sequence[str], *, bootstrap: str | None, command_config: Path | None, accept: bool = False
) -> Sequence[Finding]:
    """What is found; ids that are seen first are remembered."""
    from tallystick.boundary import open_database
    from tallystick.boundary.doctor import examine, read_sql_side, remember_origins
    from tallystick.clock import SystemClock

    engine = open_database(database, must_exist=True)
    try:
        sql = read_sql_side(engine)
        with opened(bootstrap, command_config) as cluster:
            kafka = _kafka_side(cluster, engine, sql, groups, librdkafka_settings(bootstrap, command_config))
        topics = {place[0] for _, place in sql.positions} & kafka.topic_ids.keys()
        if accept:
            remember_origins(engine, kafka, topics)
            sql = read_sql_side(engine)
        findings = examine(sql, kafka, now_ms=SystemClock().now_ms())
        if not errors(findings):
            remember_origins(engine, kafka, topics - sql.origins.keys())
        return findings
    finally:
        engine.dispose()


def _kafka_side(
    cluster: Cluster, engine: Engine, sql: SqlSide, groups: Sequence[str], settings: Mapping[str, Any]
) -> KafkaSide:
    from tallystick.boundary.doctor import KafkaSide
    from tallystick.operate.groups import committed_offsets
    from tallystick.operate.topics import partition_ends
    from tallystick.pipeline.kafka_client import Cluster as Facts

    facts = Facts(settings)
    described = facts.topics({place[0] for _, place in sql.positions})
    ids = {name: found.topic_id for name, found in described.items()}
    ends: dict[Place, tuple[int, int]] = {}
    for topic in cluster.topics(ids).values() if ids else ():
        for end in partition_ends(cluster, topic):
            ends[topic.name, end.place.partition] = (end.log_start_offset, end.high_watermark)
    committed: dict[Place, int] = {}
    for group in groups:
        for at, offset in committed_offsets(cluster, group, stable=True).items():
            place = (at.topic, at.partition)
            committed[place] = min(offset.offset, committed.get(place, offset.offset))
    known = _Known(engine, settings, facts.cluster_id(), ids)
    unknown = {
        (scope, place): known.missing(scope, place, next_offset, committed[place])
        for (scope, place), next_offset in sql.positions.items()
        if next_offset < committed.get(place, 0) <= ends.get(place, (0, 0))[1]
    }
    batches: dict[str, int] = {}
    for outbox in sql.outboxes:
        if offsets := committed_offsets(cluster, outbox.group, stable=True):
            batches[outbox.group] = max(found.offset for found in offsets.values())
    return KafkaSide(facts.cluster_id(), ids, ends, committed, unknown, batches)


@dataclass(frozen=True, slots=True)
class _Known:
    """Asks the inbox for records by the ids that the pipeline gives them."""

    engine: Engine
    settings: Mapping[str, Any]
    cluster_id: str
    topic_ids: Mapping[str, str]

    def missing(self, scope: str, place: Place, first: int, end: int) -> int:
        """How many committed records from ``first`` up to ``end`` the inbox does not know. Markers are no records."""
        from tallystick.boundary.retention import count_known
        from tallystick.pipeline.kafka_client import read_range

        records = read_range(self.settings, place, first, min(end, first + _MOST_RECORDS))
        ids = {self._id(record) for record in records}
        return len(ids) - count_known(self.engine, scope, sorted(ids))

    def _id(self, record: Record) -> str:
        try:
            return parse_event_id(dict(record.headers)[EVENT_ID_HEADER])
        except (KeyError, ValueError):
            ids = PositionIds(
                cluster_id=self.cluster_id, topic_id=self.topic_ids[record.topic], partition=record.partition
            )
            return ids.at(record.offset)
