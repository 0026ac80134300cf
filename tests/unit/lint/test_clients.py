"""Client settings of any application against the rules."""

from __future__ import annotations

import pytest

from tallystick.lint.clients import consumer_findings, looks_random, producer_findings, together
from tallystick.lint.finding import Weight
from tallystick.lint.flavours import Flavour, flavour_of

GOOD_CONSUMER = {
    "bootstrap.servers": "kafka:9092",
    "group.id": "shop",
    "group.instance.id": "shop-0",
    "enable.auto.commit": "false",
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",
}
GOOD_PRODUCER = {
    "transactional.id": "shop/shop-0",
    "enable.idempotence": "true",
    "acks": "all",
    "transaction.timeout.ms": "30000",
    "partitioner": "murmur2_random",
}
BOTH = list(Flavour)


def of_consumer(
    changes: dict[str, str | None], flavour: Flavour = Flavour.LIBRDKAFKA
) -> list[tuple[Weight, int | None]]:
    merged = {**GOOD_CONSUMER, **changes}
    settings = {name: value for name, value in merged.items() if value is not None}
    return [(one.weight, one.rule) for one in consumer_findings(settings, flavour, where="c")]


def of_producer(
    changes: dict[str, str | None], flavour: Flavour = Flavour.LIBRDKAFKA
) -> list[tuple[Weight, int | None]]:
    merged = {**GOOD_PRODUCER, **changes}
    settings = {name: value for name, value in merged.items() if value is not None}
    return [(one.weight, one.rule) for one in producer_findings(settings, flavour, where="p")]


@pytest.mark.parametrize("flavour", BOTH)
def test_settings_that_keep_the_rules_have_no_findings(flavour: Flavour) -> None:
    assert of_consumer({}, flavour) == []
    assert of_producer({}, flavour) == []
    assert not [*together(GOOD_CONSUMER, GOOD_PRODUCER, (flavour, flavour), where="both")]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"enable.auto.commit": "True"}, (Weight.BREACH, 8)),
        ({"enable.auto.commit": None}, (Weight.BREACH, 8)),
        ({"isolation.level": "read_uncommitted"}, (Weight.BREACH, 3)),
        ({"auto.offset.reset": "earliest"}, (Weight.RISK, 10)),
        ({"auto.offset.reset": None}, (Weight.RISK, 10)),
        ({"group.id": None}, (Weight.BREACH, 2)),
        ({"group.instance.id": None}, (Weight.RISK, 7)),
        ({"group.instance.id": "0b1f7a4e-7d3c-8c2a-9f10-2f4f5d1f9a77"}, (Weight.RISK, 7)),
        ({"group.protocol": "consumer"}, (Weight.RISK, 7)),
        ({"processing.guarantee": "at_least_once"}, (Weight.BREACH, None)),
        ({"application.id": "streams"}, (Weight.BREACH, None)),
        ({"processing.guarantee": "exactly_once"}, (Weight.BREACH, None)),
    ],
)
def test_a_consumer_setting_that_breaks_a_rule_is_found(
    change: dict[str, str | None], found: tuple[Weight, int | None]
) -> None:
    assert of_consumer(change) == [found]


def test_dynamic_members_of_the_consumer_protocol_are_no_risk() -> None:
    assert of_consumer({"group.protocol": "consumer", "group.instance.id": None}) == []


def test_defaults_are_those_of_the_client() -> None:
    assert of_consumer({"isolation.level": None}, Flavour.LIBRDKAFKA) == []
    assert of_consumer({"isolation.level": None}, Flavour.JAVA) == [(Weight.BREACH, 3)]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"transactional.id": None}, (Weight.BREACH, 5)),
        ({"transactional.id": "shop-0b1f7a4e7d3c8c2a9f102f4f5d1f9a77"}, (Weight.BREACH, 5)),
        ({"transactional.id": "shop-${random.uuid}"}, (Weight.BREACH, 5)),
        ({"enable.idempotence": "false"}, (Weight.BREACH, 16)),
        ({"acks": "1"}, (Weight.BREACH, 16)),
        ({"request.required.acks": "0", "acks": None}, (Weight.BREACH, 16)),
        ({"max.in.flight": "6"}, (Weight.BREACH, 19)),
        ({"retries": "0"}, (Weight.RISK, 16)),
        ({"partitioner": None}, (Weight.RISK, None)),
    ],
)
def test_a_producer_setting_that_breaks_a_rule_is_found(
    change: dict[str, str | None], found: tuple[Weight, int | None]
) -> None:
    assert of_producer(change) == [found]


@pytest.mark.parametrize("acks", ["all", "-1"])
def test_acks_of_all_have_two_spellings(acks: str) -> None:
    assert of_producer({"acks": acks}) == []


def test_a_transaction_that_may_outlive_its_member_is_found_from_both_files() -> None:
    flavours = (Flavour.LIBRDKAFKA, Flavour.LIBRDKAFKA)
    found = [*together(GOOD_CONSUMER, {"transactional.id": "x"}, flavours, where="both")]
    assert [one.rule for one in found] == [4]  # 60 s by default, and 45 s of session
    assert "session.timeout.ms=45000" in found[0].where


@pytest.mark.parametrize(
    ("settings", "flavour"),
    [
        ({"key.deserializer": "org.apache..."}, Flavour.JAVA),
        ({"processing.guarantee": "exactly_once_v2"}, Flavour.JAVA),
        ({"group.id": "x"}, Flavour.LIBRDKAFKA),
        ({"statistics.interval.ms": "1000"}, Flavour.LIBRDKAFKA),
    ],
)
def test_a_file_is_recognised_by_what_only_one_client_knows(settings: dict[str, str], flavour: Flavour) -> None:
    assert flavour_of(settings) is flavour


def test_every_finding_says_what_to_do() -> None:
    found = [
        *consumer_findings({}, Flavour.JAVA, where="c"),
        *producer_findings({"acks": "1"}, Flavour.JAVA, where="p"),
    ]
    assert all(one.what and one.remedy and one.where for one in found)


@pytest.mark.parametrize(("name", "random"), [("shop-1/0", False), ("worker-17", False), ("x-$HOSTNAME", True)])
def test_a_name_that_changes_with_each_start_is_told_from_one_that_stays(name: str, random: bool) -> None:
    assert looks_random(name) is random
