"""Settings are described, changed and listed on our broker as on Apache Kafka."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from tests.support.brokers import Cluster, Names
from tests.support.clients import WAIT_S, admin, eventually, make_topic
from tests.support.wire import WireClient, nested

TOPIC, BROKER, BROKER_LOGGER, GROUP = 2, 4, 8, 32
SET, DELETE, APPEND, SUBTRACT = range(4)
BROKER_OWN, EVERY_BROKER, STATIC, DEFAULT, TOPIC_OWN = 2, 3, 4, 5, 1
Row = tuple[str, int, str | None]


@dataclass(frozen=True, slots=True)
class Configs:
    """The requests, in short."""

    client: WireClient

    def alter(self, kind: int, name: str, rows: Sequence[Row], *, validate_only: bool = False) -> tuple[str, str]:
        api = "incremental_alter_configs"
        configs = tuple(
            nested(api, 1, "AlterableConfig", name=key, config_operation=operation, value=value)
            for key, operation, value in rows
        )
        resource = nested(api, 1, "AlterConfigsResource", resource_type=kind, resource_name=name, configs=configs)
        (answer,) = self.client.ask(api, 1, resources=(resource,), validate_only=validate_only).responses
        return answer.error_code.name, answer.error_message or ""

    def replace(self, kind: int, name: str, rows: Sequence[tuple[str, str | None]]) -> tuple[str, str]:
        api = "alter_configs"
        configs = tuple(nested(api, 2, "AlterableConfig", name=key, value=value) for key, value in rows)
        resource = nested(api, 2, "AlterConfigsResource", resource_type=kind, resource_name=name, configs=configs)
        (answer,) = self.client.ask(api, 2, resources=(resource,), validate_only=False).responses
        return answer.error_code.name, answer.error_message or ""

    def describe(self, kind: int, name: str, *keys: str) -> Any:
        api = "describe_configs"
        resource = nested(
            api,
            4,
            "DescribeConfigsResource",
            resource_type=kind,
            resource_name=name,
            configuration_keys=keys or None,
        )
        answer = self.client.ask(api, 4, resources=(resource,), include_synonyms=True, include_documentation=True)
        return answer.results[0]

    def synonyms(self, kind: int, name: str, key: str) -> list[tuple[str, str | None, int]]:
        (row,) = self.describe(kind, name, key).configs
        first = row.synonyms[0] if row.synonyms else None
        if first is None or first.value != row.value or first.source != row.config_source:
            return []  # Apache Kafka looks them up one after the other
        return [(each.name, each.value, each.source) for each in row.synonyms]


@pytest.fixture
def configs(kafka: Cluster) -> Iterator[Configs]:
    with WireClient(kafka.bootstrap) as client:
        made = Configs(client)
        yield made
        for broker in ("1", ""):  # what a test changed, no other sees
            assert made.alter(BROKER, broker, [("message.max.bytes", DELETE, None)]) == ("none", "")
        eventually(lambda: made.describe(BROKER, "1", "message.max.bytes").configs[0].config_source == DEFAULT)


@pytest.fixture
def topic(kafka: Cluster, names: Names) -> str:
    return make_topic(kafka.bootstrap, names("configured"))


# Topics


def test_a_setting_of_a_topic_is_changed_and_taken_back(configs: Configs, topic: str) -> None:
    assert configs.alter(TOPIC, topic, [("retention.ms", SET, "5")]) == ("none", "")
    eventually(lambda: configs.synonyms(TOPIC, topic, "retention.ms") == [("retention.ms", "5", TOPIC_OWN)])
    assert configs.alter(TOPIC, topic, [("retention.ms", DELETE, None)]) == ("none", "")
    eventually(lambda: configs.describe(TOPIC, topic, "retention.ms").configs[0].config_source == DEFAULT)


def test_a_setting_that_is_a_list_is_added_to_and_taken_from(configs: Configs, topic: str) -> None:
    own = ("cleanup.policy", "delete,compact", TOPIC_OWN), ("log.cleanup.policy", "delete", DEFAULT)
    for _ in range(2):  # what is in it already is not added again
        assert configs.alter(TOPIC, topic, [("cleanup.policy", APPEND, "compact")]) == ("none", "")
    eventually(lambda: configs.synonyms(TOPIC, topic, "cleanup.policy") == list(own))
    assert configs.alter(TOPIC, topic, [("cleanup.policy", SUBTRACT, "delete,other")]) == ("none", "")
    eventually(lambda: configs.describe(TOPIC, topic, "cleanup.policy").configs[0].value == "compact")


def test_validate_only_changes_nothing(configs: Configs, topic: str) -> None:
    rows = [("retention.ms", SET, "5")]
    assert configs.alter(TOPIC, topic, rows, validate_only=True) == ("none", "")
    assert configs.alter(TOPIC, topic, [("segment.ms", SET, "7")]) == ("none", "")
    eventually(lambda: configs.describe(TOPIC, topic, "segment.ms").configs[0].value == "7")
    assert configs.describe(TOPIC, topic, "retention.ms").configs[0].config_source == DEFAULT


def test_alter_configs_replaces_the_whole_set(configs: Configs, topic: str) -> None:
    configs.alter(TOPIC, topic, [("retention.ms", SET, "5")])
    assert configs.replace(TOPIC, topic, [("segment.ms", "1000")]) == ("none", "")
    eventually(lambda: own_settings(configs, topic) == {"segment.ms": "1000"})


def own_settings(configs: Configs, topic: str) -> dict[str, str]:
    rows = configs.describe(TOPIC, topic).configs
    return {row.name: row.value for row in rows if row.config_source == TOPIC_OWN}


@pytest.mark.parametrize(
    ("rows", "code", "reason"),
    [
        ([("retention.ms", SET, "-7")], "invalid_config", "Value must be at least -1"),
        ([("nope", SET, "1")], "invalid_config", "Unknown topic config name: nope"),
        ([("nope", DELETE, None)], "none", ""),
        ([("retention.ms", APPEND, "1")], "invalid_config", "Can't APPEND to key retention.ms because its type is not"),
        ([("retention.ms", SUBTRACT, "1")], "invalid_config", "Can't SUBTRACT to key retention.ms"),
        ([("retention.ms", SET, None)], "invalid_request", "Null value not supported for : retention.ms"),
        ([("retention.ms", DELETE, "ignored")], "none", ""),
        ([("segment.ms", SET, "1"), ("segment.ms", SET, "2")], "invalid_request", "duplicate config keys"),
        ([], "none", ""),
    ],
    ids=str,
)
def test_a_change_is_refused_as_by_apache_kafka(
    configs: Configs, topic: str, rows: list[Row], code: str, reason: str
) -> None:
    answered, message = configs.alter(TOPIC, topic, rows)
    assert answered == code
    assert reason in message


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        (TOPIC, "not-there", "unknown_topic_or_partition"),
        (TOPIC, "", "invalid_request"),
        (BROKER, "9", "invalid_request"),
        (BROKER, "one", "invalid_request"),
        (BROKER_LOGGER, "1", "invalid_config"),
        (GROUP, "", "invalid_request"),
        (77, "x", "invalid_request"),
    ],
)
def test_a_resource_that_is_not_there_is_refused_as_by_apache_kafka(
    configs: Configs, kind: int, name: str, code: str
) -> None:
    assert configs.alter(kind, name, [("segment.ms", SET, "1")])[0] == code


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        (TOPIC, "not-there", "unknown_topic_or_partition"),
        (TOPIC, "not a name", "invalid_topic_exception"),
        (BROKER, "9", "invalid_request"),
        (BROKER, "one", "invalid_request"),
        (BROKER_LOGGER, "1", "none"),
        (GROUP, "", "invalid_request"),
        (GROUP, "any", "none"),
        (77, "x", "invalid_request"),
    ],
)
def test_describing_it_has_the_same_code(configs: Configs, kind: int, name: str, code: str) -> None:
    assert configs.describe(kind, name).error_code.name == code


def test_a_resource_that_is_named_twice_is_changed_neither_time(configs: Configs, topic: str) -> None:
    api = "incremental_alter_configs"
    rows = tuple(
        nested(
            api,
            1,
            "AlterConfigsResource",
            resource_type=TOPIC,
            resource_name=topic,
            configs=(nested(api, 1, "AlterableConfig", name=name, config_operation=SET, value="1"),),
        )
        for name in ("retention.ms", "segment.ms")
    )
    answer = configs.client.ask(api, 1, resources=rows, validate_only=False)
    assert {row.error_code.name for row in answer.responses} == {"invalid_request"}
    assert own_settings(configs, topic) == {}


# The broker


def test_every_public_setting_of_the_broker_is_described_with_its_type(configs: Configs) -> None:
    rows = {row.name: row for row in configs.describe(BROKER, "1").configs}
    assert len(rows) >= 340
    for name, config_type, is_read_only in (
        ("num.partitions", 3, True),
        ("log.retention.ms", 5, False),
        ("log.cleaner.min.cleanable.ratio", 6, False),
        ("log.cleanup.policy", 7, False),
        ("auto.create.topics.enable", 1, True),
        ("broker.rack", 2, True),
        ("principal.builder.class", 8, False),
        ("ssl.key.password", 9, False),
    ):
        assert (rows[name].config_type, rows[name].read_only) == (config_type, is_read_only), name
        assert rows[name].documentation
    assert rows["ssl.key.password"].is_sensitive
    assert (rows["node.id"].value, rows["node.id"].config_source) == ("1", STATIC)
    assert rows["log.retention.ms"].value is None
    assert rows["log.segment.bytes"].value == "1073741824"


def test_a_dynamic_setting_of_the_broker_is_the_default_of_topics_at_once(configs: Configs, topic: str) -> None:
    assert configs.alter(BROKER, "", [("message.max.bytes", SET, "777777")]) == ("none", "")
    everyones = [("message.max.bytes", "777777", EVERY_BROKER), ("message.max.bytes", "1048588", DEFAULT)]
    eventually(lambda: configs.synonyms(TOPIC, topic, "max.message.bytes") == everyones)
    assert configs.alter(BROKER, "1", [("message.max.bytes", SET, "888888")]) == ("none", "")
    both = [("message.max.bytes", "888888", BROKER_OWN), *everyones]
    eventually(lambda: configs.synonyms(TOPIC, topic, "max.message.bytes") == both)
    assert configs.synonyms(BROKER, "1", "message.max.bytes") == both
    assert configs.alter(BROKER, "1", [("message.max.bytes", DELETE, None)]) == ("none", "")
    eventually(lambda: configs.synonyms(BROKER, "1", "message.max.bytes") == everyones)


def test_a_dynamic_setting_outlives_a_restart(kafka: Cluster, names: Names) -> None:
    with WireClient(kafka.bootstrap) as client:
        assert Configs(client).alter(BROKER, "1", [("log.retention.ms", SET, "86400000")]) == ("none", "")
    kafka.kill()
    kafka.restart()
    topic = make_topic(kafka.bootstrap, names("later"))
    with WireClient(kafka.bootstrap) as client:
        configs = Configs(client)
        eventually(
            lambda: configs.synonyms(TOPIC, topic, "retention.ms")[:1] == [("log.retention.ms", "86400000", BROKER_OWN)]
        )
        assert configs.alter(BROKER, "1", [("log.retention.ms", DELETE, None)]) == ("none", "")
        eventually(lambda: configs.describe(BROKER, "1", "log.retention.ms").configs[0].value is None)


@pytest.mark.parametrize(
    ("broker", "row", "reason"),
    [
        ("1", ("num.partitions", SET, "9"), "Cannot update these configs dynamically: [num.partitions]"),
        ("", ("num.partitions", SET, "9"), "Cannot update these configs dynamically: [num.partitions]"),
        ("", ("listeners", SET, "PLAINTEXT://127.0.0.1:1"), "Cannot update these configs at default cluster level"),
        ("1", ("log.segment.bytes", SET, "many"), "Not a number of type INT"),
        ("1", ("ssl.keystore.location", SET, "/x"), "ssl.keystore.location"),
    ],
    ids=str,
)
def test_a_dynamic_setting_is_refused_as_by_apache_kafka(configs: Configs, broker: str, row: Row, reason: str) -> None:
    code, message = configs.alter(BROKER, broker, [row])
    assert code == "invalid_request"
    assert reason in message


# Names


def test_what_has_settings_is_listed(configs: Configs, topic: str) -> None:
    def listed(*kinds: int) -> set[tuple[str, int]]:
        answer = configs.client.ask("list_config_resources", 1, resource_types=kinds)
        assert answer.error_code.name == "none"
        return {(row.resource_name, row.resource_type) for row in answer.config_resources}

    assert {(topic, TOPIC), ("1", BROKER), ("1", BROKER_LOGGER)} <= listed()
    assert listed(BROKER) == {("1", BROKER)}
    assert (topic, TOPIC) in listed(TOPIC)
    answer = configs.client.ask("list_config_resources", 1, resource_types=(77,))
    assert answer.error_code.name == "unsupported_version"
    assert configs.client.ask("list_config_resources", 0).config_resources == ()


# As a client library sees it


def test_librdkafkas_admin_client_changes_and_describes(kafka: Cluster, topic: str) -> None:
    client = admin(kafka.bootstrap)
    entry = ConfigEntry("retention.ms", "1234", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    client.incremental_alter_configs([resource])[resource].result(WAIT_S)
    wanted = ConfigResource(ResourceType.TOPIC, topic)

    def value() -> str:
        return str(client.describe_configs([wanted])[wanted].result(WAIT_S)["retention.ms"].value)

    eventually(lambda: value() == "1234")
    wrong = ConfigResource(
        ResourceType.TOPIC,
        topic,
        incremental_configs=[ConfigEntry("retenton.ms", "1", incremental_operation=AlterConfigOpType.SET)],
    )
    with pytest.raises(KafkaException, match="Unknown topic config name"):
        client.incremental_alter_configs([wrong])[wrong].result(WAIT_S)
