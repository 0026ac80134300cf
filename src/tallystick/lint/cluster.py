"""A cluster and a group against the rules, by what brokers and coordinators say.

Owns: the questions and the checks. Must not know: how answers are shown. It changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final

from tallystick.lint.clients import looks_random
from tallystick.lint.finding import Finding, breach, risk
from tallystick.operate.cluster import Cluster, Topic, TopicPartition
from tallystick.operate.groups import committed_offsets, describe_group
from tallystick.operate.topics import broker_settings, partition_ends, topic_settings
from tallystick.operate.transactions import list_transactions, open_transactions

RANDOM_IDS_SHOWN: Final = 3
_ENOUGH_BROKERS: Final = 3
_DAY_MINUTES: Final = 24 * 60
_REMEDY_COPIES: Final = "Keep three copies, and set min.insync.replicas=2"


def cluster_findings(cluster: Cluster, *, now_ms: int) -> Iterator[Finding]:
    """Of the whole cluster: transactions that hang, names that change, and what its brokers keep how."""
    topics = {name: topic for name, topic in cluster.topics().items() if not topic.is_internal}
    places = [place for topic in topics.values() for place in topic.partitions]
    for held in open_transactions(cluster, places, now_ms=now_ms):
        place = held.producer.place
        if held.is_hanging:
            yield breach(
                9,
                f"{place}@{held.producer.open_from}",
                f"a transaction of producer {held.producer.producer_id} hangs: no coordinator will end it, and "
                "every read_committed reader waits there for ever",
                f"tallystick txn abort --partition {place} --from-offset {held.producer.open_from}, once you know that "
                "it was not committed: Apache Kafka 4.3.1 can lose the marker of a commit that it has acknowledged",
            )
        elif held.transaction is not None and held.age_ms > 2 * (held.transaction.timeout_ms or held.age_ms):
            yield risk(
                4,
                f"{place}@{held.producer.open_from}",
                f"{held.transaction.transactional_id} is open for {held.age_ms // 1000} s, over twice its timeout",
                f"tallystick txn describe {held.transaction.transactional_id}",
            )
    random_ids = [one.transactional_id for one in list_transactions(cluster) if looks_random(one.transactional_id)]
    if random_ids:
        yield breach(
            5,
            f"{len(random_ids)} transactional ids, such as {', '.join(random_ids[:RANDOM_IDS_SHOWN])}",
            "they look as if they were new after each start: they fence nobody",
            "Name a transactional id after application, group and the process's place",
        )
    yield from _durability(cluster, topics)


def _durability(cluster: Cluster, topics: Mapping[str, Topic]) -> Iterator[Finding]:
    brokers, settings = len({node for topic in topics.values() for ids in topic.replicas.values() for node in ids}), {}
    if topics:
        settings = broker_settings(cluster)
    if settings.get("unclean.leader.election.enable") == "true":
        yield breach(
            16,
            "unclean.leader.election.enable=true",
            "a broker that lacks acknowledged records may become leader: they are gone",
            "Set it to false",
        )
    retention = int(settings.get("offsets.retention.minutes", 7 * _DAY_MINUTES))
    if retention < _DAY_MINUTES:
        yield risk(
            10,
            f"offsets.retention.minutes={retention}",
            "a group that stands still for a night has no offsets in the morning",
            "Raise it to a week",
        )
    if settings.get("auto.create.topics.enable", "false") == "true":
        yield risk(
            None,
            "auto.create.topics.enable=true",
            "a misspelt name becomes a topic, with partitions and copies that nobody chose",
            "Set it to false",
        )
    if brokers < _ENOUGH_BROKERS:
        return
    default_in_sync = settings.get("min.insync.replicas", "1")
    for topic in topics.values():
        copies = min((len(ids) for ids in topic.replicas.values()), default=0)
        in_sync = topic_settings(cluster, topic.name).get("min.insync.replicas", default_in_sync)
        if copies < 2:
            yield risk(16, topic.name, "one copy: it is lost with its broker's disk", _REMEDY_COPIES)
        elif int(in_sync) < 2:
            yield risk(16, f"{topic.name}: min.insync.replicas={in_sync}", "acks=all may mean one copy", _REMEDY_COPIES)


def group_findings(cluster: Cluster, name: str, *, watch_s: float) -> Iterator[Finding]:
    """Of one group. ``watch_s`` is how long it is watched for commits that nobody fences."""
    group = describe_group(cluster, name)
    first = committed_offsets(cluster, name)
    yield from _positions(cluster, name, {place: found.offset for place, found in first.items()})
    unnamed = [member.client_id for member in group.members if member.instance_id is None]
    if unnamed:
        yield risk(
            7,
            f"group {name}: {len(unnamed)} of {len(group.members)} members without group.instance.id",
            "each restart of one moves partitions twice",
            "Give each process a stable group.instance.id",
        )
    if not group.has_members:
        time.sleep(watch_s)
        later = committed_offsets(cluster, name)
        moved = [str(place) for place, found in later.items() if found != first.get(place)]
        if moved:
            yield breach(
                2,
                f"group {name}: {', '.join(moved[:RANDOM_IDS_SHOWN])}",
                "offsets are committed and the group has no members: whoever does it uses assign(), and nobody "
                "fences it",
                "Use subscribe(), and send the consumer's group metadata with the offsets",
            )


def _positions(cluster: Cluster, name: str, offsets: Mapping[TopicPartition, int]) -> Iterator[Finding]:
    topics = cluster.topics({place.topic for place in offsets}) if offsets else {}
    for topic in topics.values():
        for ends in partition_ends(cluster, topic):
            offset = offsets.get(ends.place)
            if offset is None:
                yield risk(
                    10,
                    f"group {name}: {ends.place} has no offset",
                    "auto.offset.reset decides there: records are skipped or repeated in silence",
                    f"tallystick groups reset {name} --to-earliest --topic {topic.name}",
                )
            elif not ends.log_start_offset <= offset <= ends.high_watermark:
                yield breach(
                    10,
                    f"group {name}: {ends.place}@{offset}",
                    f"the log has {ends.log_start_offset} to {ends.high_watermark}: what lay between is lost to it",
                    "Find out what was deleted; then tallystick groups reset, on purpose",
                )
