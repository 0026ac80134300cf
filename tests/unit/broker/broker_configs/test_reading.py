"""What the broker is told by a file, by ``--set`` and by its own options, and in which order they count."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tallystick.broker.broker_configs import BrokerConfigs, collect, read
from tallystick.broker.broker_configs.given import Given
from tallystick.broker.command_line import CommandLine
from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.security.command_line import SecurityOptions
from tallystick.broker.security.settings import STANDARD_AUTHORIZER
from tallystick.errors import ConfigurationError

SHIPPED = Path(__file__).with_name("server.properties")


def configs(**given: str) -> BrokerConfigs:
    return from_sets({name.replace("_", "."): value for name, value in given.items()})


def from_sets(given: Mapping[str, str]) -> BrokerConfigs:
    return read({name: Given(name, value, "--set") for name, value in given.items()})


def test_the_file_that_kafka_ships_says_where_to_listen_and_where_to_keep_data() -> None:
    options, notes = CommandLine(properties=SHIPPED).options()
    assert (options.host, options.port, options.data) == ("127.0.0.1", 9092, Path("/tmp/kraft-combined-logs"))  # noqa: S108
    assert options.node.num_partitions == 1
    assert options.static_configs["log.retention.hours"] == "168"
    without_effect = {note.name for note in notes}
    assert {"num.network.threads", "controller.quorum.bootstrap.servers"} < without_effect
    assert "num.partitions" not in without_effect
    assert all(note.reason for note in notes)


def test_an_option_comes_before_set_and_set_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "f.properties"
    file.write_text("num.partitions=2\nlog.dirs=/in/file\nlisteners=PLAINTEXT://:1\nbroker.rack=file\n")
    line = CommandLine(properties=file, sets=["num.partitions=3", "broker.rack=set"], data=tmp_path)
    options, _ = line.options()
    assert (options.node.num_partitions, options.node.broker_rack, options.data) == (3, "set", tmp_path)
    options, _ = CommandLine(
        properties=file, sets=["num.partitions=3"], num_partitions=5, security=SecurityOptions(listen=["127.0.0.1:7"])
    ).options()
    assert (options.node.num_partitions, options.port, options.data) == (5, 7, Path("/in/file"))
    assert options.security.listeners.listeners == ()


def test_an_unknown_name_is_refused_with_the_nearest_one_and_its_line(tmp_path: Path) -> None:
    file = tmp_path / "f.properties"
    file.write_text("# no\n\nnum.partition=2\n")
    with pytest.raises(ConfigurationError, match=rf"{file}, line 3: .*'num.partition'. Did you mean num.partitions\?"):
        collect(file, [])
    with pytest.raises(ConfigurationError, match=r"--set: .*Did you mean message.max.bytes\?"):
        collect(None, ["mesage.max.bytes=1"])


def test_a_name_of_the_time_of_zookeeper_is_told_to_be_gone() -> None:
    with pytest.raises(ConfigurationError, match=r"removed in Apache Kafka 4.0. Leave it out"):
        collect(None, ["zookeeper.connect=localhost:2181"])


def test_a_set_without_a_value_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is not name=value"):
        collect(None, ["num.partitions"])


def test_a_wrong_value_is_refused_with_its_place_and_reason(tmp_path: Path) -> None:
    file = tmp_path / "f.properties"
    file.write_text("num.partitions=zero\n")
    with pytest.raises(ConfigurationError, match=rf"{file}, line 1: num.partitions=zero: Not a number of type INT"):
        read(collect(file, []))


def test_a_secret_never_stands_in_an_error_or_a_representation(tmp_path: Path) -> None:
    file = tmp_path / "f.properties"
    file.write_text("ssl.key.password=hush\nssl.client.auth=maybe\n")
    with pytest.raises(ConfigurationError) as refused:
        read(collect(file, []))
    assert "hush" not in str(refused.value)
    file.write_text("ssl.key.password=hush\n")
    assert "hush" not in repr(collect(file, []))
    assert "hush" not in repr(read(collect(file, [])).security)


@pytest.mark.parametrize(
    "name",
    [
        "ssl.key.password",
        "ssl.keystore.key",
        "sasl.jaas.config",
        "listener.name.sasl_ssl.plain.sasl.jaas.config",
        "listener.name.outside.ssl.key.password",
    ],
)
def test_a_secret_is_not_taken_from_the_command_line(name: str) -> None:
    with pytest.raises(ConfigurationError, match="would show a secret") as refused:
        collect(None, [f"{name}=hush"])
    assert "hush" not in str(refused.value)


def test_fields_get_their_values_in_their_own_types() -> None:
    given = from_sets(
        {
            "listener.security.protocol.map": "IN:PLAINTEXT, OUT:SASL_SSL",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "max.connections": "12",
            "max.connections.per.ip.overrides": "127.0.0.1:3,127.0.0.2:4",
            "queued.max.request.bytes": "-1",
            "authorizer.class.name": STANDARD_AUTHORIZER,
            "super.users": "User:a;User:b",
            "allow.everyone.if.no.acl.found": "TRUE",
            "transaction.max.timeout.ms": "5",
            "group.consumer.assignors": "range",
            "offsets.retention.minutes": "7",
            "log.segment.bytes": "1048576",
            "auto.create.topics.enable": "false",
        }
    )
    security = given.security
    assert security.listeners.listener_security_protocol_map == ("IN:PLAINTEXT", "OUT:SASL_SSL")
    assert security.sasl.sasl_enabled_mechanisms == ("PLAIN", "SCRAM-SHA-512")
    assert security.connections.max_connections == 12
    assert security.connections.per_ip("127.0.0.2") == 4
    assert security.connections.queued_max_request_bytes == 256 * 1024 * 1024
    assert len(security.authorizer.super_principals()) == 2
    assert security.authorizer.allow_everyone_if_no_acl_found
    assert given.transactions.transaction_max_timeout_ms == 5
    assert given.groups.group_consumer_assignors == ("range",)
    assert given.groups.offsets_retention_ms == 7 * 60 * 1000
    assert given.log.log_segment_bytes == 1_048_576
    assert given.values["log.segment.bytes"] == "1048576"
    assert not given.node.auto_create_topics_enable


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        ({"log.flush.interval.messages": "1"}, FsyncPolicy.COMMIT),
        ({"log.flush.interval.messages": "10000"}, None),
        ({"log.flush.interval.ms": "500"}, FsyncPolicy.INTERVAL),
        ({"log.flush.interval.ms": "500", "log.flush.interval.messages": "1"}, FsyncPolicy.COMMIT),
        ({}, None),
    ],
)
def test_flush_settings_choose_the_fsync_policy(given: dict[str, str], policy: FsyncPolicy | None) -> None:
    assert from_sets(given).fsync is policy


def test_the_option_fsync_comes_before_flush_settings(tmp_path: Path) -> None:
    options, _ = CommandLine(data=tmp_path, sets=["log.flush.interval.messages=1"], fsync="never").options()
    assert options.fsync is FsyncPolicy.NEVER


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("create.topic.policy.class.name", "com.example.Policy", "a class of Java cannot be loaded"),
        ("principal.builder.class", "com.example.Builder", "a class of Java cannot be loaded"),
        ("remote.log.storage.system.enable", "true", "there is no tiered storage"),
        ("ssl.principal.mapping.rules", "RULE:^CN=(.*?),.*$/$1/", "whole subject"),
        ("config.providers", "file", "values are taken as they stand"),
        ("process.roles", "controller", "has no 'broker'"),
        ("log.dirs", "/a,/b", "has 2 folders"),
        ("log.retention.ms", "-2", "at least -1"),
    ],
)
def test_what_would_silently_be_less_than_asked_for_is_refused(name: str, value: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as refused:
        from_sets({name: value})
    assert str(refused.value).startswith("--set: ")


def test_a_value_that_kafka_has_anyway_is_taken_where_others_are_refused() -> None:
    from_sets(
        {
            "principal.builder.class": "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder",
            "transaction.two.phase.commit.enable": "false",
            "config.providers": "",
        }
    )


def test_broker_id_is_the_old_name_of_node_id() -> None:
    assert configs(broker_id="7").node.node_id == 7
    assert configs(broker_id="-1", node_id="3").node.node_id == 3
    with pytest.raises(ConfigurationError, match=r"broker.id and node.id differ"):
        configs(broker_id="7", node_id="3")


def test_without_a_folder_the_broker_does_not_start() -> None:
    with pytest.raises(ConfigurationError, match="needs a data folder"):
        CommandLine().options()


# Configurations of one listener

TWO = {
    "listeners": "IN://127.0.0.1:1,OUT://0.0.0.0:2,CONTROLLER://:3",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "IN:PLAINTEXT,OUT:SASL_SSL,CONTROLLER:SSL",
}


def test_a_configuration_of_the_only_listener_that_it_can_hold_for_is_taken() -> None:
    given = from_sets(
        TWO
        | {
            "listener.name.out.ssl.client.auth": "required",
            "listener.name.out.plain.sasl.jaas.config": 'x required user_a="b";',
            "listener.name.out.scram-sha-512.sasl.jaas.config": "x required;",
            "listener.name.controller.ssl.client.auth": "none",
        }
    )
    assert given.security.tls.ssl_client_auth == "required"
    assert given.security.sasl.sasl_jaas_config == 'x required user_a="b";'
    assert {note.name for note in given.notes} == {
        "listener.name.out.scram-sha-512.sasl.jaas.config",
        "listener.name.controller.ssl.client.auth",
    }


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"listener.name.in.ssl.client.auth": "none"}, "would hold for OUT, too"),
        ({"listener.name.nowhere.ssl.client.auth": "none"}, "listeners has no NOWHERE"),
        ({"listener.name.out.num.partitions": "1"}, "no configuration that a listener has"),
        ({"listener.name.out.ssl.client.auth": "none", "ssl.client.auth": "required"}, "contradicts ssl.client.auth"),
    ],
)
def test_a_configuration_of_one_listener_is_never_widened_in_silence(more: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        from_sets(TWO | more)
