"""All topic configurations of Apache Kafka 4.3, as one table.

Owns: name, type, default, bounds, the broker configurations that give the default, and a line of explanation each.
Must not know: what a topic does with the value.

A configuration about replicas or tiered storage is accepted and has no effect on one node; its explanation says so.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tallystick.broker.topic_configs.bounds import (
    Check,
    anything,
    at_least,
    between,
    gzip_level,
    not_tiered,
    one_of,
    some_of,
    throttled_replicas,
)
from tallystick.broker.topic_configs.value_types import ConfigType, Value
from tallystick.wire.errors import ApiError, ErrorCode

_FOREVER: Final = 2**63 - 1
_DAY_MS: Final = 86_400_000
_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class BrokerSynonym:
    """A broker configuration that a topic's default comes from; its value times ``factor`` is the topic's."""

    name: str
    factor: int = 1


@dataclass(frozen=True, slots=True)
class ConfigDefinition:
    """One topic configuration. ``synonyms`` are in the order of precedence."""

    name: str
    type: ConfigType
    default: str
    check: Check
    synonyms: tuple[BrokerSynonym, ...]
    documentation: str
    internal: bool = False
    """Accepted, and never shown by DescribeConfigs."""

    def parse(self, text: str | None) -> Value:
        """The value of a text; ``ApiError`` INVALID_CONFIG if it has none."""
        if text is None:
            raise ApiError(ErrorCode.invalid_config, f"Null value not supported for topic configs: {self.name}")
        try:
            value = self.type.parse(text)
            self.check(value)
        except ValueError as error:
            raise ApiError(
                ErrorCode.invalid_config, f"Invalid value {text} for configuration {self.name}: {error}"
            ) from None
        return tuple(dict.fromkeys(value)) if isinstance(value, tuple) else value

    def normal(self, text: str | None) -> str:
        """The text that Kafka stores and shows for this one; ``ApiError`` INVALID_CONFIG if it has no value."""
        return self.type.render(self.parse(text))


def _define(
    name: str,
    type_: ConfigType,
    default: str | int,
    check: Check,
    synonyms: Iterable[BrokerSynonym | str],
    documentation: str,
    *,
    internal: bool = False,
) -> ConfigDefinition:
    rows = tuple(BrokerSynonym(row) if isinstance(row, str) else row for row in synonyms)
    return ConfigDefinition(name, type_, str(default), check, rows, documentation, internal)


_ROWS: Final = (
    _define("cleanup.policy", ConfigType.LIST, "delete", some_of("compact", "delete"), ["log.cleanup.policy"],
            "What happens to old records: 'delete' by age and size, 'compact' to the newest of each key, or both."),
    _define("compression.gzip.level", ConfigType.INT, -1, gzip_level, ["compression.gzip.level"],
            "How hard gzip works when the broker compresses; -1 is its default."),
    _define("compression.lz4.level", ConfigType.INT, 9, between(1, 17), ["compression.lz4.level"],
            "How hard lz4 works when the broker compresses. This broker knows one level."),
    _define("compression.type", ConfigType.STRING, "producer",
            one_of("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"), ["compression.type"],
            "The codec that batches are stored in; 'producer' keeps what they came in."),
    _define("compression.zstd.level", ConfigType.INT, 3, between(-131_072, 22), ["compression.zstd.level"],
            "How hard zstd works when the broker compresses."),
    _define("delete.retention.ms", ConfigType.LONG, _DAY_MS, at_least(0), ["log.cleaner.delete.retention.ms"],
            "How long a tombstone and a transaction marker stay in a compacted topic."),
    _define("file.delete.delay.ms", ConfigType.LONG, 60_000, at_least(0), ["log.segment.delete.delay.ms"],
            "How long the file of a deleted segment stays on the disk."),
    _define("flush.messages", ConfigType.LONG, _FOREVER, at_least(1), ["log.flush.interval.messages"],
            "Accepted without effect: the broker's --fsync policy decides for all topics."),
    _define("flush.ms", ConfigType.LONG, _FOREVER, at_least(0), ["log.flush.interval.ms"],
            "Accepted without effect: the broker's --fsync policy decides for all topics."),
    _define("follower.replication.throttled.replicas", ConfigType.LIST, "", throttled_replicas, [],
            "Accepted without effect: one node has no followers."),
    _define("index.interval.bytes", ConfigType.INT, 4096, at_least(0), ["log.index.interval.bytes"],
            "How many bytes lie between two entries of a segment's index, from the next segment on."),
    _define("internal.segment.bytes", ConfigType.INT, 0, at_least(0), [],
            "Overrides segment.bytes below its lower bound, for tests; 0 does not.", internal=True),
    _define("leader.replication.throttled.replicas", ConfigType.LIST, "", throttled_replicas, [],
            "Accepted without effect: one node has no followers."),
    _define("local.retention.bytes", ConfigType.LONG, -2, at_least(-2), ["log.local.retention.bytes"],
            "Accepted without effect: nothing is tiered."),
    _define("local.retention.ms", ConfigType.LONG, -2, at_least(-2), ["log.local.retention.ms"],
            "Accepted without effect: nothing is tiered."),
    _define("max.compaction.lag.ms", ConfigType.LONG, _FOREVER, at_least(1), ["log.cleaner.max.compaction.lag.ms"],
            "The longest time that a record of a compacted topic stays uncompacted."),
    _define("max.message.bytes", ConfigType.INT, 1_048_588, at_least(0), ["message.max.bytes"],
            "The largest record batch, as it comes and as it is stored."),
    _define("message.timestamp.after.max.ms", ConfigType.LONG, _HOUR_MS, at_least(0),
            ["log.message.timestamp.after.max.ms"],
            "How far after the broker's time a record's may be. With CreateTime only."),
    _define("message.timestamp.before.max.ms", ConfigType.LONG, _FOREVER, at_least(0),
            ["log.message.timestamp.before.max.ms"],
            "How far before the broker's time a record's may be. With CreateTime only."),
    _define("message.timestamp.type", ConfigType.STRING, "CreateTime", one_of("CreateTime", "LogAppendTime"),
            ["log.message.timestamp.type"], "Whose time a record bears: the producer's, or the broker's."),
    _define("min.cleanable.dirty.ratio", ConfigType.DOUBLE, "0.5", between(0, 1), ["log.cleaner.min.cleanable.ratio"],
            "The share of uncompacted bytes in a log from which on it is compacted."),
    _define("min.compaction.lag.ms", ConfigType.LONG, 0, at_least(0), ["log.cleaner.min.compaction.lag.ms"],
            "The shortest time that a record of a compacted topic stays uncompacted."),
    _define("min.insync.replicas", ConfigType.INT, 1, at_least(1), ["min.insync.replicas"],
            "Accepted; as in Apache Kafka it asks for no more replicas than there are, and there is one."),
    _define("preallocate", ConfigType.BOOLEAN, "false", anything, ["log.preallocate"],
            "Accepted without effect: files grow as they are written."),
    _define("remote.log.copy.disable", ConfigType.BOOLEAN, "false", anything, [],
            "Accepted without effect: nothing is tiered."),
    _define("remote.log.delete.on.disable", ConfigType.BOOLEAN, "false", anything, [],
            "Accepted without effect: nothing is tiered."),
    _define("remote.storage.enable", ConfigType.BOOLEAN, "false", not_tiered, [],
            "Only 'false': there is no tiered storage."),
    _define("retention.bytes", ConfigType.LONG, -1, anything, ["log.retention.bytes"],
            "How large a partition may grow before its oldest segments go; negative: without bound."),
    _define("retention.ms", ConfigType.LONG, 7 * _DAY_MS, at_least(-1),
            ["log.retention.ms", BrokerSynonym("log.retention.minutes", _MINUTE_MS),
             BrokerSynonym("log.retention.hours", _HOUR_MS)],
            "How old a segment's newest record may be before the segment goes; -1: without bound."),
    _define("segment.bytes", ConfigType.INT, 1_073_741_824, at_least(1_048_576), ["log.segment.bytes"],
            "How large a segment grows before the next one is begun."),
    _define("segment.index.bytes", ConfigType.INT, 10_485_760, at_least(4), ["log.index.size.max.bytes"],
            "Accepted without effect: an index is as large as it needs to be."),
    _define("segment.jitter.ms", ConfigType.LONG, 0, at_least(0),
            ["log.roll.jitter.ms", BrokerSynonym("log.roll.jitter.hours", _HOUR_MS)],
            "By how much, at random, segment.ms is shortened for each segment."),
    _define("segment.ms", ConfigType.LONG, 7 * _DAY_MS, at_least(1),
            ["log.roll.ms", BrokerSynonym("log.roll.hours", _HOUR_MS)],
            "How old a segment may grow before the next one is begun."),
    _define("unclean.leader.election.enable", ConfigType.BOOLEAN, "false", anything,
            ["unclean.leader.election.enable"], "Accepted without effect: one node elects nobody."),
)  # fmt: skip

DEFINITIONS: Final[dict[str, ConfigDefinition]] = {row.name: row for row in _ROWS}


def definition_of(name: str) -> ConfigDefinition:
    """The definition of a configuration; ``ApiError`` INVALID_CONFIG that names the nearest one if there is none."""
    found = DEFINITIONS.get(name)
    if found is None:
        near = difflib.get_close_matches(name, DEFINITIONS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ApiError(ErrorCode.invalid_config, f"Unknown topic config name: {name}{hint}")
    return found
