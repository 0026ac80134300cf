"""What a publisher is made with, and what its answers mean; no broker."""

from __future__ import annotations

import pytest

from tallystick.errors import AmbiguousOutcome, ConfigurationError
from tallystick.ids import EventId, deterministic_id
from tallystick.pipeline import EventRefused, Publisher, Topic
from tallystick.pipeline.error_classes import Failure
from tallystick.pipeline.kafka_client.acknowledged import outcome
from tallystick.pipeline.records import Output

OUTPUT = Output("orders", None, b"x", deterministic_id("order", 1))
ORDERS = Topic("orders", bytes)


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ({"enable.idempotence": False}, 16),
        ({"acks": 1}, 16),
        ({"transactional.id": "x"}, None),
        ({"delivery.report.only.error": True}, None),
        ({"queue.buffering.max.messages": 5}, None),
        ({"bootstrap.servers": "b:1"}, None),
        ({"error_cb": print}, None),
    ],
)
def test_a_setting_that_contradicts_a_publisher_is_refused(setting: dict[str, object], rule: int | None) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(setting))) as refusal:
        Publisher("127.0.0.1:1", settings=setting)
    assert refusal.value.rule == rule


@pytest.mark.parametrize("waiting", [0, -1, 10_000_001])
def test_as_many_as_may_wait_have_bounds(waiting: int) -> None:
    with pytest.raises(ConfigurationError, match="max_waiting"):
        Publisher("127.0.0.1:1", max_waiting=waiting)


def test_an_event_id_that_is_none_is_refused_before_anything_is_sent() -> None:
    publisher = Publisher("127.0.0.1:1")
    with pytest.raises(ValueError, match="UUID"):
        publisher.publish(ORDERS, b"x", event_id=EventId("7"))
    assert publisher.waiting == 0
    publisher.close()


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure(10, "MSG_SIZE_TOO_LARGE", ""), EventRefused),
        (Failure(87, "INVALID_RECORD", ""), EventRefused),
        (Failure(3, "UNKNOWN_TOPIC_OR_PART", ""), ConfigurationError),
        (Failure(29, "TOPIC_AUTHORIZATION_FAILED", ""), ConfigurationError),
        (Failure(-192, "_MSG_TIMED_OUT", ""), AmbiguousOutcome),
        (Failure(-152, "_PURGE_QUEUE", ""), AmbiguousOutcome),
        (Failure(45, "OUT_OF_ORDER_SEQUENCE_NUMBER", "", fatal=True), AmbiguousOutcome),
    ],
)
def test_what_is_not_known_to_have_failed_is_said_to_be_unknown(failure: Failure, kind: type[Exception]) -> None:
    error = outcome(failure, OUTPUT)
    assert type(error) is kind
    assert OUTPUT.event_id in str(error)
    assert failure.name in str(error)
