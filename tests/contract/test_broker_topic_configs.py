"""Topic configurations: names, values, bounds and sources are the same on our broker and on Apache Kafka."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigEntry, ConfigResource, ConfigSource, NewTopic
from tests.support.brokers import Cluster, Names
from tests.support.clients import WAIT_S, admin, make_topic


def described(bootstrap: str, topic: str) -> dict[str, ConfigEntry]:
    resource = ConfigResource("topic", topic)
    client = admin(bootstrap)  # a client that is collected cancels its requests
    entries: dict[str, ConfigEntry] = client.describe_configs([resource])[resource].result(WAIT_S)
    return entries


def made(bootstrap: str, topic: str, configs: dict[str, str]) -> None:
    client = admin(bootstrap)
    (future,) = client.create_topics([NewTopic(topic, 1, 1, config=configs)]).values()
    future.result(WAIT_S)


DEFAULTS = {
    "cleanup.policy": "delete",
    "compression.gzip.level": "-1",
    "compression.lz4.level": "9",
    "compression.type": "producer",
    "compression.zstd.level": "3",
    "delete.retention.ms": "86400000",
    "file.delete.delay.ms": "60000",
    "flush.messages": "9223372036854775807",
    "flush.ms": "9223372036854775807",
    "follower.replication.throttled.replicas": "",
    "index.interval.bytes": "4096",
    "leader.replication.throttled.replicas": "",
    "local.retention.bytes": "-2",
    "local.retention.ms": "-2",
    "max.compaction.lag.ms": "9223372036854775807",
    "max.message.bytes": "1048588",
    "message.timestamp.after.max.ms": "3600000",
    "message.timestamp.before.max.ms": "9223372036854775807",
    "message.timestamp.type": "CreateTime",
    "min.cleanable.dirty.ratio": "0.5",
    "min.compaction.lag.ms": "0",
    "min.insync.replicas": "1",
    "preallocate": "false",
    "remote.log.copy.disable": "false",
    "remote.log.delete.on.disable": "false",
    "remote.storage.enable": "false",
    "retention.bytes": "-1",
    "retention.ms": "604800000",
    "segment.bytes": "1073741824",
    "segment.index.bytes": "10485760",
    "segment.jitter.ms": "0",
    "segment.ms": "604800000",
    "unclean.leader.election.enable": "false",
}


def test_a_topic_that_says_nothing_has_kafkas_defaults(kafka: Cluster, names: Names) -> None:
    topic = make_topic(kafka.bootstrap, names("defaults"))
    assert {name: entry.value for name, entry in described(kafka.bootstrap, topic).items()} == DEFAULTS


def test_own_settings_are_kept_in_their_normal_form_and_told_from_defaults(kafka: Cluster, names: Names) -> None:
    topic = names("own")
    given = {
        "retention.ms": " +5 ",
        "cleanup.policy": "delete, compact",
        "preallocate": "TRUE",
        "min.cleanable.dirty.ratio": ".5f",
        "min.insync.replicas": "3",
        "leader.replication.throttled.replicas": "0:1,1:1",
        "internal.segment.bytes": "100",
    }
    make_topic(kafka.bootstrap, topic, config=given)
    entries = described(kafka.bootstrap, topic)
    own = {
        name: entry.value
        for name, entry in entries.items()
        if ConfigSource(entry.source) is ConfigSource.DYNAMIC_TOPIC_CONFIG
    }
    assert own == {
        "retention.ms": "5",
        "cleanup.policy": "delete,compact",
        "preallocate": "true",
        "min.cleanable.dirty.ratio": "0.5",
        "min.insync.replicas": "3",
        "leader.replication.throttled.replicas": "0:1,1:1",
    } | ({"internal.segment.bytes": "100"} if kafka.name == "apache" else {})
    assert not any(entry.is_read_only or entry.is_sensitive for entry in entries.values())


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("segment.bytes", "1048575", "Value must be at least 1048576"),
        ("segment.bytes", "99999999999", "Not a number of type INT"),
        ("segment.ms", "0", "Value must be at least 1"),
        ("retention.ms", "-2", "Value must be at least -1"),
        ("retention.ms", "1_0", "Not a number of type LONG"),
        ("max.message.bytes", "-1", "Value must be at least 0"),
        ("min.cleanable.dirty.ratio", "1.1", "Value must be no more than 1"),
        ("cleanup.policy", "never", "String must be one of: compact, delete"),
        ("cleanup.policy", "compact,", "values must not be empty"),
        ("preallocate", "yes", "Expected value to be either true or false"),
        ("compression.type", "none", "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer"),
        ("compression.gzip.level", "0", "Value must be between 1 and 9 or equal to -1"),
        ("compression.lz4.level", "18", "Value must be no more than 17"),
        ("compression.zstd.level", "23", "Value must be no more than 22"),
        ("message.timestamp.type", "logappendtime", "String must be one of: CreateTime, LogAppendTime"),
        ("leader.replication.throttled.replicas", "x", "must be the literal '*'"),
        ("remote.storage.enable", "true", "Tiered Storage functionality is disabled"),
        ("retenton.ms", "1", "Unknown topic config name: retenton.ms"),
        ("message.format.version", "3.0", "Unknown topic config name: message.format.version"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_reason(
    kafka: Cluster, names: Names, name: str, value: str, reason: str
) -> None:
    with pytest.raises(KafkaException) as refused:
        made(kafka.bootstrap, names("wrong"), {name: value})
    error = refused.value.args[0]
    assert error.name() == "INVALID_CONFIG"
    assert reason in error.str()
