"""Do Kafka and SQL belong together? What each side knows of the other, held against it, before anything runs.

Owns: reading the SQL side, and ``examine``, which is pure. Must not know: how Kafka is asked; who calls fills in
``KafkaSide``. Two sides that are restored from different times still look healthy, each for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, inspect, select, text

from tallystick.boundary import schema
from tallystick.boundary.database import reading
from tallystick.boundary.statements import insert

SKEW_MS: Final = 5_000
"""A difference of clocks from which leases and horizons are told wrong."""
OUTBOX_GROUP: Final = "tallystick-outbox"

Place = tuple[str, int]


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """``code`` is for programs and never changes; ``remedy`` says what to do."""

    severity: Severity
    code: str
    place: str
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Origin:
    """The cluster and the topic, by ids, that a topic's offsets in SQL are of."""

    cluster_id: str
    topic_id: str


@dataclass(frozen=True, slots=True)
class OutboxSide:
    """A relay's row: the last batch that it began, and whether its rows are marked."""

    name: str
    incarnation: str
    batch: int
    pending: bool

    @property
    def group(self) -> str:
        return f"{OUTBOX_GROUP}.{self.name}.{self.incarnation}"


@dataclass(frozen=True, slots=True)
class SqlSide:
    """``positions``: by scope and place, one more than the highest offset that was processed."""

    version: int | None
    positions: Mapping[tuple[str, Place], int] = field(default_factory=dict)
    horizons: Mapping[tuple[str, Place], int] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    outboxes: tuple[OutboxSide, ...] = ()
    clock_ms: int = 0


@dataclass(frozen=True, slots=True)
class KafkaSide:
    """``committed``: of the groups that fill the inboxes, the lowest by place. ``unknown``: how many committed records
    between an inbox's position and the group's have no row in the inbox. ``outbox_batches``: by outbox group, the
    number of the last batch that Kafka has."""

    cluster_id: str
    topic_ids: Mapping[str, str]
    ends: Mapping[Place, tuple[int, int]]
    committed: Mapping[Place, int] = field(default_factory=dict)
    unknown: Mapping[tuple[str, Place], int] = field(default_factory=dict)
    outbox_batches: Mapping[str, int] = field(default_factory=dict)


def read_sql_side(engine: Engine) -> SqlSide:
    """What the database says. Nothing is changed."""
    with reading(engine) as connection:
        if not inspect(connection).has_table(schema.schema_version.name):
            return SqlSide(None)
        version = connection.execute(
            select(schema.schema_version.c.version).where(schema.schema_version.c.component == schema.COMPONENT)
        ).scalar_one_or_none()
        if version != schema.SCHEMA_VERSION:
            return SqlSide(version)
        at, back = schema.inbox_position.c, schema.inbox_horizon.c
        return SqlSide(
            version,
            _by_place(connection.execute(select(at.scope, at.topic, at.partition, at.next_offset))),
            _by_place(
                connection.execute(select(back.scope, back.topic, back.partition, back.horizon).where(back.topic != ""))
            ),
            {row.topic: Origin(row.cluster_id, row.topic_id) for row in connection.execute(select(schema.origin))},
            tuple(_outboxes(connection)),
            _clock_ms(connection),
        )


def remember_origins(engine: Engine, kafka: KafkaSide, topics: Iterable[str]) -> None:
    """From now on, these topics' offsets in SQL are of the topics that the cluster has under their names."""
    with engine.begin() as connection:
        for topic in sorted(topics):
            statement = insert(connection, schema.origin).values(
                topic=topic, cluster_id=kafka.cluster_id, topic_id=kafka.topic_ids[topic]
            )
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["topic"],
                    set_={"cluster_id": statement.excluded.cluster_id, "topic_id": statement.excluded.topic_id},
                )
            )


def examine(sql: SqlSide, kafka: KafkaSide, *, now_ms: int) -> list[Finding]:
    """Everything that does not fit together, the worst first."""
    found = list(_of_version(sql))
    if not found:
        found += _of_clock(sql, now_ms)
        strangers = list(_of_origins(sql, kafka))
        found += strangers
        stranger_topics = {finding.place for finding in strangers}
        for (scope, place), next_offset in sorted(sql.positions.items()):
            if place[0] not in stranger_topics:
                found += _of_position(sql, kafka, scope, place, next_offset)
        for outbox in sql.outboxes:
            found += _of_outbox(outbox, kafka.outbox_batches.get(outbox.group))
    order = list(Severity)
    return sorted(found, key=lambda finding: (order.index(finding.severity), finding.code, finding.place))


def _of_version(sql: SqlSide) -> Iterable[Finding]:
    if sql.version is None:
        yield Finding(
            Severity.WARNING,
            "no-tables",
            "SQL",
            "the database has no tables of the boundary",
            "A new application: start it. Otherwise this is the wrong database, or an empty one was restored",
        )
    elif sql.version > schema.SCHEMA_VERSION:
        yield Finding(
            Severity.ERROR,
            "schema-newer",
            "SQL",
            f"the tables have version {sql.version}, this program knows them up to {schema.SCHEMA_VERSION}",
            "Use the program that wrote them, or a newer one",
        )
    elif sql.version < schema.SCHEMA_VERSION:
        yield Finding(
            Severity.WARNING,
            "schema-older",
            "SQL",
            f"the tables have version {sql.version}, this program writes {schema.SCHEMA_VERSION}",
            "create_tables brings them up to date; then ask again",
        )


def _of_clock(sql: SqlSide, now_ms: int) -> Iterable[Finding]:
    skew_ms = sql.clock_ms - now_ms
    if abs(skew_ms) > SKEW_MS:
        yield Finding(
            Severity.WARNING,
            "clock-skew",
            "SQL",
            f"the database's clock is {abs(skew_ms) / 1000:,.1f} s {'ahead of' if skew_ms > 0 else 'behind'} this one",
            "Set the clocks by NTP: leases end by them, and retention counts with them",
        )


def _of_origins(sql: SqlSide, kafka: KafkaSide) -> Iterable[Finding]:
    for topic in sorted({place[0] for _, place in sql.positions}):
        origin, topic_id = sql.origins.get(topic), kafka.topic_ids.get(topic)
        if topic_id is None:
            yield Finding(
                Severity.ERROR,
                "topic-missing",
                topic,
                "SQL has processed records of this topic, and the cluster has no topic of this name",
                "Is this the right cluster? If the topic was restored elsewhere, give that cluster",
            )
        elif origin is not None and origin.cluster_id != kafka.cluster_id:
            yield Finding(
                Severity.ERROR,
                "other-cluster",
                topic,
                f"SQL knows this topic of cluster {origin.cluster_id}, this is cluster {kafka.cluster_id}",
                "Give the right cluster. After a move offsets differ, and event ids in headers do not: compare, then "
                "--accept",
            )
        elif origin is not None and origin.topic_id != topic_id:
            yield Finding(
                Severity.ERROR,
                "other-topic",
                topic,
                f"the topic was made anew: id {topic_id} instead of {origin.topic_id}",
                "Offsets in SQL are of the old one. Records without an event id in their headers get new ids. "
                "If that is what you want, --accept",
            )


def _of_position(sql: SqlSide, kafka: KafkaSide, scope: str, place: Place, next_offset: int) -> Iterable[Finding]:
    name = f"{scope} {place[0]}-{place[1]}"
    ends, committed = kafka.ends.get(place), kafka.committed.get(place)
    if ends is None or ends[1] < next_offset:
        end = 0 if ends is None else ends[1]
        yield Finding(
            Severity.ERROR,
            "kafka-behind",
            name,
            f"the log ends at {end}, SQL has processed up to {next_offset}: Kafka lacks {next_offset - end} records",
            "Kafka was restored from an earlier time. Restore SQL to that time too; or have the missing records sent "
            "again: the inbox knows those with an event id in their headers",
        )
        return
    if committed is None:
        return
    if committed > ends[1]:
        yield Finding(
            Severity.ERROR,
            "offsets-beyond-end",
            name,
            f"the group has committed {committed}, and the log ends at {ends[1]}",
            "The log was restored from an earlier time than the offsets. Set the group back with 'tallystick groups'",
        )
    elif committed < (horizon := sql.horizons.get((scope, place), 0)):
        yield Finding(
            Severity.ERROR,
            "below-horizon",
            name,
            f"the group would read from {committed}, and the inbox has forgotten what lies below {horizon}",
            "Set the group forward to the horizon, or allow it by name: SqlEffect(allow_reexecution='why')",
        )
    elif unknown := kafka.unknown.get((scope, place), 0):
        yield Finding(
            Severity.ERROR,
            "sql-behind",
            name,
            f"the group has committed {committed}, SQL has processed up to {next_offset}: of the records between, "
            f"{unknown} are not in the inbox",
            f"SQL was restored from an earlier time: set the group back to {next_offset} with 'tallystick groups', "
            "what is known is not done again. Or they are dead letters: see 'tallystick dlq'",
        )
    elif committed < next_offset:
        yield Finding(
            Severity.NOTE,
            "replay",
            name,
            f"{next_offset - committed} records will be read again, which the inbox knows",
            "Nothing to do: a worker was killed between its two commits. If they are many, the offsets were restored",
        )


def _of_outbox(outbox: OutboxSide, in_kafka: int | None) -> Iterable[Finding]:
    place = f"outbox {outbox.name}"
    begun = outbox.batch - 1 if outbox.pending else outbox.batch
    if in_kafka is not None and in_kafka > outbox.batch:
        yield Finding(
            Severity.ERROR,
            "outbox-sql-behind",
            place,
            f"Kafka has batches up to {in_kafka}, SQL knows {outbox.batch}",
            "SQL was restored from an earlier time: rows that left already would leave again, with the same event ids. "
            "Restore Kafka to that time too, or make sure that consumers drop known ids",
        )
    elif begun > 0 and (in_kafka or 0) < begun:
        yield Finding(
            Severity.ERROR,
            "outbox-kafka-behind",
            place,
            f"SQL has published batches up to {begun}, Kafka has {in_kafka or 'none'}",
            "Kafka was restored from an earlier time, or the position expired (offsets.retention.minutes). To send "
            f"rows again, set published_at_ms to NULL in tallystick_outbox where batch is above {in_kafka or 0}",
        )
    elif outbox.pending:
        yield Finding(
            Severity.NOTE,
            "outbox-pending",
            place,
            f"batch {outbox.batch} is begun and not marked",
            "Nothing to do: the next relay finds out whether Kafka has it",
        )


def _by_place(rows: Any) -> dict[tuple[str, Place], int]:
    return {(scope, (topic, partition)): int(offset) for scope, topic, partition, offset in rows}


def _outboxes(connection: Connection) -> Iterable[OutboxSide]:
    outbox = schema.outbox.c
    for row in connection.execute(select(schema.outbox_relay).order_by(schema.outbox_relay.c.name)).all():
        query = select(outbox.sequence).where(outbox.published_at_ms.is_(None), outbox.batch == row.batch).limit(1)
        yield OutboxSide(
            row.name, row.incarnation, row.batch, connection.execute(query).scalar_one_or_none() is not None
        )


def _clock_ms(connection: Connection) -> int:
    if connection.dialect.name == "postgresql":
        return int(connection.execute(select(func.extract("epoch", func.clock_timestamp()) * 1000)).scalar_one())
    return int(connection.execute(text("SELECT (julianday('now') - 2440587.5) * 86400000")).scalar_one())
