"""What holds for a topic, and where it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.broker.in_process import opened

from tallystick.broker.log.settings import LogSettings
from tallystick.broker.topic_configs import (
    BrokerDefault,
    ConfigSource,
    Effective,
    check_overrides,
    defaults_from_broker,
    effective,
    resolve,
)
from tallystick.wire.errors import ApiError, ErrorCode


def test_a_topic_goes_before_the_broker_and_the_broker_before_kafka() -> None:
    defaults = {"retention.ms": BrokerDefault("7"), "retention.bytes": BrokerDefault("8")}
    holds = effective({"retention.ms": "5"}, defaults)
    assert holds["retention.ms"] == Effective("5", ConfigSource.DYNAMIC_TOPIC_CONFIG)
    assert holds["retention.bytes"] == Effective("8", ConfigSource.STATIC_BROKER_CONFIG)
    assert holds["segment.ms"] == Effective("604800000", ConfigSource.DEFAULT_CONFIG)
    config = resolve({"retention.ms": "5"}, defaults)
    assert (config.retention_ms, config.retention_bytes, config.segment_ms) == (5, 8, 604_800_000)


def test_internal_settings_are_taken_and_not_shown() -> None:
    config = resolve(check_overrides({"internal.segment.bytes": "100"}), {})
    assert config.log_settings(LogSettings()).log_segment_bytes == 100
    assert "internal.segment.bytes" not in effective({"internal.segment.bytes": "100"}, {})


@pytest.mark.parametrize(
    ("configs", "expected"),
    [
        ({"log.retention.hours": "2"}, {"retention.ms": "7200000"}),
        ({"log.retention.hours": "2", "log.retention.minutes": "3"}, {"retention.ms": "180000"}),
        ({"log.retention.minutes": "3", "log.retention.ms": "4"}, {"retention.ms": "4"}),
        ({"log.retention.hours": "-1"}, {"retention.ms": "-1"}),
        ({"message.max.bytes": "2000", "node.id": "1"}, {"max.message.bytes": "2000"}),
        ({"log.cleanup.policy": "compact, delete"}, {"cleanup.policy": "compact,delete"}),
    ],
)
def test_broker_configurations_give_defaults(configs: dict[str, str], expected: dict[str, str]) -> None:
    assert {name: row.value for name, row in defaults_from_broker(configs).items()} == expected


def test_a_wrong_broker_value_is_refused_under_the_brokers_name() -> None:
    with pytest.raises(ApiError, match=r"Invalid value 5x for configuration log.retention.hours: Not a number"):
        defaults_from_broker({"log.retention.hours": "5x"})
    with pytest.raises(ApiError, match=r"configuration log.segment.bytes: Value must be at least 1048576"):
        defaults_from_broker({"log.segment.bytes": "5"})


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ApiError, match="conflict topic config setting") as refused:
        check_overrides({"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "5"})
    assert refused.value.code is ErrorCode.invalid_config
    with pytest.raises(ApiError, match="conflict topic config setting"):
        check_overrides({"min.compaction.lag.ms": "10"}, {"max.compaction.lag.ms": BrokerDefault("5")})


def test_changed_settings_hold_at_once_and_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as node:
        topic = node.partitions.create("t", configs={"retention.ms": "5", "retention.bytes": "6"})
        node.partitions.configure("t", {"retention.ms": None, "max.message.bytes": " 100 "})
        assert topic.partitions[0].config.max_message_bytes == 100
        node.partitions.grow("t", partition_count=3)
        assert topic.partitions[2].config.max_message_bytes == 100
    with opened(tmp_path) as node:
        found = node.partitions.by_name("t")
        assert found is not None
        assert found.configs == {"retention.bytes": "6", "max.message.bytes": "100"}
        assert found.partitions[0].config == found.config
        assert (found.config.retention_ms, found.config.retention_bytes) == (604_800_000, 6)


def test_a_refused_change_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as node:
        topic = node.partitions.create("t", configs={"retention.ms": "5"})
        for changes in ({"retention.ms": "6", "no.such": "1"}, {"retention.ms": "x"}):
            with pytest.raises(ApiError) as refused:
                node.partitions.configure("t", changes)
            assert refused.value.code is ErrorCode.invalid_config
        node.partitions.configure("t", {"retention.ms": "6"}, validate_only=True)
        node.partitions.configure("t", {"no.such": None})  # what is not there is taken back already
        assert topic.configs == {"retention.ms": "5"}
        with pytest.raises(ApiError) as unknown:
            node.partitions.configure("none", {})
        assert unknown.value.code is ErrorCode.unknown_topic_or_partition


def test_the_brokers_defaults_change_for_all_topics(tmp_path: Path) -> None:
    with opened(tmp_path) as node:
        plain = node.partitions.create("plain")
        own = node.partitions.create("own", configs={"retention.ms": "5"})
        node.partitions.set_defaults({"retention.ms": BrokerDefault("9")})
        assert (plain.config.retention_ms, own.config.retention_ms) == (9, 5)
        assert plain.partitions[0].config.retention_ms == 9
