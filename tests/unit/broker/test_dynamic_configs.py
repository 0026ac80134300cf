"""Broker configurations that were changed while it ran: kept, applied at once, and bounded."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.wire import nested
from tests.unit.broker.in_process import ask, opened

from tallystick.broker.dynamic_configs import COMPACT_ABOVE_BYTES, DynamicConfigs
from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.log.durability import Durability
from tallystick.broker.log.settings import DEFAULTS
from tallystick.broker.node import Node
from tallystick.wire.errors import ApiError, ErrorCode


def change(node: Node, broker: str, **configs: str) -> None:
    node.configs.change(broker, {name.replace("_", "."): value for name, value in configs.items()}, validate_only=False)
    node.reconfigure()


def test_a_change_holds_at_once_and_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path, static_configs={"log.retention.ms": "9"}) as node:
        topic = node.partitions.create("t")
        assert topic.config.retention_ms == 9
        change(node, "", log_retention_ms="7", max_connections="12", producer_id_expiration_ms="5")
        change(node, "1", log_retention_ms="8")
        assert topic.config.retention_ms == 8
        assert node.configs.connections.max_connections == 12
        assert node.producer_expiry.settings.producer_id_expiration_ms == 5
    with opened(tmp_path, static_configs={"log.retention.ms": "9"}) as node:
        found = node.partitions.by_name("t")
        assert found is not None
        assert found.config.retention_ms == 8
        assert node.configs.connections.max_connections == 12
        change(node, "1")
        assert found.config.retention_ms == 7
        change(node, "")
        assert found.config.retention_ms == 9
        assert node.configs.connections.max_connections == 4_000


def test_what_is_refused_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as node:
        change(node, "", log_retention_ms="7")
        for wrong, reason in (
            ({"log_retention_ms": "-5"}, "Value must be at least -1"),
            ({"num_partitions": "3"}, "Cannot update these configs dynamically"),
            ({"log_retenton_ms": "3"}, "did you mean log.retention.ms"),
            ({"principal_builder_class": "x"}, "at default cluster level"),
            ({"compression_type": "rar"}, "String must be one of"),
        ):
            with pytest.raises(ApiError, match=reason) as refused:
                change(node, "", **wrong)
            assert refused.value.code is ErrorCode.invalid_request
        with pytest.raises(ApiError, match="takes effect at a start only"):
            change(node, "1", sasl_enabled_mechanisms="PLAIN")
        assert node.configs.given_to("") == {"log.retention.ms": "7"}


def test_validation_alone_keeps_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as node:
        node.configs.change("", {"log.retention.ms": "7"}, validate_only=True)
        assert node.configs.given_to("") == {}


def test_what_has_no_effect_on_one_node_may_be_changed_as_in_apache_kafka(tmp_path: Path) -> None:
    with opened(tmp_path) as node:
        change(node, "", num_io_threads="16")
        assert node.configs.given_to("") == {"num.io.threads": "16"}


def test_a_secret_is_never_told(tmp_path: Path) -> None:
    with opened(tmp_path, static_configs={"ssl.key.password": "hush"}) as node:
        resource = nested(
            "describe_configs",
            4,
            "DescribeConfigsResource",
            resource_type=4,
            resource_name="1",
            configuration_keys=("ssl.key.password",),
        )
        told = ask(node, "describe_configs", 4, resources=(resource,), include_synonyms=True)
        (row,) = told.results[0].configs
    assert row.is_sensitive
    assert "hush" not in repr(told)


def test_the_journal_stays_small_however_often_a_setting_changes(tmp_path: Path) -> None:
    durability = Durability(FsyncPolicy.NEVER, DEFAULTS)
    configs = DynamicConfigs(tmp_path / "configs.journal", durability)
    for count in range(5_000):
        configs.change("", {"log.retention.ms": str(count)})
    configs.close()
    assert (tmp_path / "configs.journal").stat().st_size <= COMPACT_ABOVE_BYTES
    again = DynamicConfigs(tmp_path / "configs.journal", durability)
    assert again.of("") == {"log.retention.ms": "4999"}
    again.close()


def test_what_an_older_program_kept_and_this_one_does_not_take_keeps_no_node_from_starting(tmp_path: Path) -> None:
    with opened(tmp_path) as node:
        node.dynamic_configs.change("", {"log.retention.ms": "-5", "gone.in.this.version": "1"})
    with opened(tmp_path) as node:
        topic = node.partitions.create("t")
        assert topic.config.retention_ms == 604_800_000
