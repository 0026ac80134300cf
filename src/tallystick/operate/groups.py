"""Consumer groups: listed, described, their offsets read, set and deleted.

Owns: what a group coordinator is asked. Must not know: ends of logs (``lag`` puts both together).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tallystick.errors import FatalError
from tallystick.operate.cluster import Cluster, CoordinatorOf, TopicPartition, check
from tallystick.operate.connection import Connection, UnsupportedByBroker, Versions
from tallystick.operate.offsets import by_topic
from tallystick.wire.errors import ErrorCode

LIST_GROUPS: Final = Versions("list_groups", 4, 5)
DESCRIBE_GROUPS: Final = Versions("describe_groups", 5, 6)
DESCRIBE_CONSUMER_GROUPS: Final = Versions("consumer_group_describe", 0, 0)
OFFSET_FETCH: Final = Versions("offset_fetch", 8, 9)
OFFSET_COMMIT: Final = Versions("offset_commit", 8, 8)
OFFSET_DELETE: Final = Versions("offset_delete", 0, 0)
DELETE_GROUPS: Final = Versions("delete_groups", 2, 2)


@dataclass(frozen=True, slots=True)
class Member:
    """``instance_id`` is that of a static member, else None."""

    member_id: str
    instance_id: str | None
    client_id: str
    host: str


@dataclass(frozen=True, slots=True)
class Group:
    """``kind`` is ``classic`` or ``consumer`` (KIP-848), empty if the broker does not say."""

    name: str
    kind: str
    state: str
    members: tuple[Member, ...] = ()

    @property
    def has_members(self) -> bool:
        """Whether its offsets belong to somebody who is running."""
        return bool(self.members) or self.state.lower() not in ("empty", "dead")


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    """``metadata`` is whatever the application wrote beside it."""

    offset: int
    metadata: str


def list_groups(cluster: Cluster) -> list[Group]:
    """Every group of the cluster, without its members."""

    def ask() -> list[Group]:
        found = []
        for connection in cluster.each_broker():
            answer = connection.ask(LIST_GROUPS, states_filter=(), types_filter=())
            check(answer.error_code, "the list of groups")
            found += [Group(row.group_id, getattr(row, "group_type", ""), row.group_state) for row in answer.groups]
        return sorted(found, key=lambda group: group.name)

    return cluster.settled(ask)


def describe_group(cluster: Cluster, name: str) -> Group:
    """With its members; ``FatalError`` if there is no such group."""

    def ask() -> Group:
        connection = cluster.coordinator(CoordinatorOf.GROUP, name)
        found = _consumer_group(connection, name) or _classic_group(connection, name)
        if found is None or found.state == "Dead":
            raise FatalError(f"there is no group {name!r}")
        return found

    return cluster.settled(ask)


def committed_offsets(cluster: Cluster, group: str, *, stable: bool = False) -> dict[TopicPartition, CommittedOffset]:
    """Every offset that the group has committed. ``stable`` waits for those under an open transaction."""

    def ask() -> dict[TopicPartition, CommittedOffset]:
        connection = cluster.coordinator(CoordinatorOf.GROUP, group)
        wanted = connection.part(
            OFFSET_FETCH, "OffsetFetchRequestGroup", group_id=group, member_id=None, member_epoch=-1, topics=None
        )
        (row,) = connection.ask(OFFSET_FETCH, groups=(wanted,), require_stable=stable).groups
        if row.error_code is ErrorCode.group_id_not_found:
            return {}
        check(row.error_code, f"the offsets of group {group!r}")
        found = {}
        for topic in row.topics:
            for part in topic.partitions:
                place = TopicPartition(topic.name, int(part.partition_index))
                check(part.error_code, f"the offset of {place} in group {group!r}")
                if part.committed_offset >= 0:
                    found[place] = CommittedOffset(int(part.committed_offset), part.metadata or "")
        return found

    return cluster.settled(ask)


def set_offsets(cluster: Cluster, group: str, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
    """Commit for a group without members. ``FatalError`` names the first partition that was refused."""

    def ask() -> None:
        connection = cluster.coordinator(CoordinatorOf.GROUP, group)
        topics = tuple(
            connection.part(
                OFFSET_COMMIT,
                "OffsetCommitRequestTopic",
                name=topic,
                partitions=tuple(
                    connection.part(
                        OFFSET_COMMIT,
                        "OffsetCommitRequestPartition",
                        partition_index=place.partition,
                        committed_offset=offsets[place].offset,
                        committed_leader_epoch=-1,
                        committed_metadata=offsets[place].metadata,
                    )
                    for place in places
                ),
            )
            for topic, places in by_topic(offsets).items()
        )
        answer = connection.ask(
            OFFSET_COMMIT, group_id=group, generation_id_or_member_epoch=-1, member_id="", topics=topics
        )
        _check_partitions(answer, f"setting offsets of group {group!r}")

    cluster.settled(ask)


def delete_offsets(cluster: Cluster, group: str, places: Iterable[TopicPartition]) -> None:
    """Forget what a group committed for these partitions. Refused for topics that a member is subscribed to."""
    wanted = list(places)

    def ask() -> None:
        connection = cluster.coordinator(CoordinatorOf.GROUP, group)
        topics = tuple(
            connection.part(
                OFFSET_DELETE,
                "OffsetDeleteRequestTopic",
                name=topic,
                partitions=tuple(
                    connection.part(OFFSET_DELETE, "OffsetDeleteRequestPartition", partition_index=place.partition)
                    for place in parts
                ),
            )
            for topic, parts in by_topic(wanted).items()
        )
        answer = connection.ask(OFFSET_DELETE, group_id=group, topics=topics)
        check(answer.error_code, f"deleting offsets of group {group!r}")
        _check_partitions(answer, f"deleting offsets of group {group!r}")

    cluster.settled(ask)


def delete_group(cluster: Cluster, group: str) -> None:
    """Forget a group without members, and all its offsets."""

    def ask() -> None:
        connection = cluster.coordinator(CoordinatorOf.GROUP, group)
        (row,) = connection.ask(DELETE_GROUPS, groups_names=(group,)).results
        check(row.error_code, f"deleting group {group!r}")

    cluster.settled(ask)


def _classic_group(connection: Connection, name: str) -> Group | None:
    (row,) = connection.ask(DESCRIBE_GROUPS, groups=(name,), include_authorized_operations=False).groups
    if row.error_code is ErrorCode.group_id_not_found:
        return None
    check(row.error_code, f"group {name!r}")
    return Group(name, "classic", row.group_state, tuple(_member(part, part.group_instance_id) for part in row.members))


def _consumer_group(connection: Connection, name: str) -> Group | None:
    """None if it is a classic one, or the broker knows no others."""
    try:
        answer = connection.ask(DESCRIBE_CONSUMER_GROUPS, group_ids=(name,), include_authorized_operations=False)
    except UnsupportedByBroker:
        return None
    (row,) = answer.groups
    if row.error_code in (ErrorCode.group_id_not_found, ErrorCode.unsupported_version):
        return None
    check(row.error_code, f"group {name!r}", row.error_message)
    return Group(name, "consumer", row.group_state, tuple(_member(part, part.instance_id) for part in row.members))


def _member(row: Any, instance_id: str | None) -> Member:
    return Member(row.member_id, instance_id, row.client_id, row.client_host.removeprefix("/"))


def _check_partitions(answer: Any, what: str) -> None:
    for topic in answer.topics:
        for part in topic.partitions:
            check(part.error_code, f"{what}, {topic.name}-{part.partition_index}")
