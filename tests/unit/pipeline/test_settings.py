"""Which of the user's settings pass, which are refused, and what is filled in."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick.errors import ConfigurationError
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.settings import consumer_settings, producer_settings

CONSUMER = {"bootstrap.servers": "broker:9092", "group.id": "g", "group.instance.id": "s"}
PRODUCER = {"transactional.id": "a/g/s/0"}


def consumer(user: dict[str, Any], guarantee: Guarantee = Guarantee.EXACTLY_ONCE) -> dict[str, Any]:
    return consumer_settings({**CONSUMER, **user}, guarantee=guarantee)


def producer(user: dict[str, Any], guarantee: Guarantee = Guarantee.EXACTLY_ONCE) -> dict[str, Any]:
    base = PRODUCER if guarantee is Guarantee.EXACTLY_ONCE else {}
    return producer_settings({**base, **user}, consumer({}, guarantee), guarantee=guarantee)


@pytest.mark.parametrize("guarantee", list(Guarantee))
@pytest.mark.parametrize(
    ("setting", "value", "rule"),
    [
        ("enable.auto.commit", True, 8),
        ("enable.auto.commit", "true", 8),
        ("enable.auto.offset.store", True, 8),
        ("auto.offset.reset", "earliest", 10),
        ("auto.offset.reset", "latest", 10),
        ("group.protocol", "share", 7),
        ("partition.assignment.strategy", "range,cooperative-sticky", None),
    ],
)
def test_a_consumer_setting_that_contradicts_is_refused_with_its_rule_and_a_remedy(
    guarantee: Guarantee, setting: str, value: Any, rule: int | None
) -> None:
    with pytest.raises(ConfigurationError, match=setting) as refusal:
        consumer({setting: value}, guarantee)
    assert refusal.value.rule == rule
    assert refusal.value.remedy


def test_uncommitted_records_may_be_read_unless_the_guarantee_is_exactly_once() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        consumer({"isolation.level": "read_uncommitted"})
    assert refusal.value.rule == 3
    assert consumer({"isolation.level": "read_uncommitted"}, Guarantee.AT_LEAST_ONCE)


@pytest.mark.parametrize(
    ("setting", "value", "rule"),
    [
        ("enable.idempotence", False, 16),
        ("acks", 1, 16),
        ("delivery.report.only.error", False, 16),
        ("log.connection.close", False, 15),
    ],
)
def test_a_producer_setting_that_contradicts_is_refused(setting: str, value: Any, rule: int) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        producer({setting: value})
    assert refusal.value.rule == rule


def test_a_transaction_must_time_out_before_its_member_does() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        producer({"transaction.timeout.ms": 45_000})
    assert refusal.value.rule == 4
    assert producer({"transaction.timeout.ms": 44_999})


def test_a_shorter_session_needs_a_shorter_transaction() -> None:
    short = consumer({"session.timeout.ms": 6000})
    with pytest.raises(ConfigurationError) as refusal:
        producer_settings(PRODUCER, short, guarantee=Guarantee.EXACTLY_ONCE)
    assert refusal.value.rule == 4
    assert producer_settings({**PRODUCER, "transaction.timeout.ms": 5000}, short, guarantee=Guarantee.EXACTLY_ONCE)


@pytest.mark.parametrize("setting", ["logger", "stats_cb", "error_cb", "on_delivery"])
def test_call_backs_are_the_runtimes(setting: str) -> None:
    with pytest.raises(ConfigurationError, match="belongs to the runtime"):
        producer({setting: print})


def test_a_transactional_id_has_no_place_outside_exactly_once() -> None:
    with pytest.raises(ConfigurationError, match="at-least-once"):
        producer({"transactional.id": "x"}, Guarantee.AT_LEAST_ONCE)


def test_exactly_once_needs_a_transactional_id() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        producer_settings({}, consumer({}), guarantee=Guarantee.EXACTLY_ONCE)
    assert refusal.value.rule == 5


@pytest.mark.parametrize("missing", ["bootstrap.servers", "group.id"])
def test_what_cannot_be_guessed_is_asked_for(missing: str) -> None:
    given = {name: value for name, value in CONSUMER.items() if name != missing}
    with pytest.raises(ConfigurationError, match=missing):
        consumer_settings(given, guarantee=Guarantee.EXACTLY_ONCE)


def test_other_settings_pass_and_ours_fill_the_rest() -> None:
    merged = consumer({"fetch.min.bytes": 7, "fetch.wait.max.ms": 5})
    assert merged["fetch.min.bytes"] == 7
    assert merged["fetch.wait.max.ms"] == 5
    assert merged["isolation.level"] == "read_committed"
    assert merged["auto.offset.reset"] == "error"
    assert producer({"linger.ms": 50})["linger.ms"] == 50


def test_the_cooperative_assignor_is_a_choice() -> None:
    assert consumer({})["partition.assignment.strategy"] == "range"
    assert consumer({"partition.assignment.strategy": "cooperative-sticky"})


def test_a_member_can_be_made_dynamic_by_an_empty_instance_id() -> None:
    assert "group.instance.id" not in consumer({"group.instance.id": ""})


@pytest.mark.parametrize("setting", ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"])
def test_what_the_consumer_protocol_leaves_to_the_broker_is_refused_and_says_where_it_went(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=r"group\.(consumer|remote)") as refusal:
        consumer({"group.protocol": "consumer", setting: "range"})
    assert refusal.value.rule == 7


def test_under_the_consumer_protocol_the_broker_assigns_ranges_and_a_transaction_is_still_shorter_than_a_session() -> (
    None
):
    by_broker = consumer({"group.protocol": "consumer", "group.instance.id": ""})
    assert by_broker["group.remote.assignor"] == "range"
    assert not by_broker.keys() & {"session.timeout.ms", "partition.assignment.strategy", "group.instance.id"}
    assert (
        consumer({"group.protocol": "consumer", "group.remote.assignor": "uniform"})["group.remote.assignor"]
        == "uniform"
    )
    with pytest.raises(ConfigurationError) as refusal:
        producer_settings({**PRODUCER, "transaction.timeout.ms": 45_000}, by_broker, guarantee=Guarantee.EXACTLY_ONCE)
    assert refusal.value.rule == 4
