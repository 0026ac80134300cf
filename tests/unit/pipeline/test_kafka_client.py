"""What of the client's wrapper shows without a broker."""

from __future__ import annotations

import pytest
from tests.unit.pipeline.fakes import FakeAssignment, FakeConsumer, event_id

from tallystick.errors import AbortableError, FatalError
from tallystick.ids import EVENT_ID_HEADER
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.kafka_client import GroupConsumer, Membership, OutputRefused, Producer
from tallystick.pipeline.records import Output
from tallystick.pipeline.settings import consumer_settings, producer_settings

NOBODY = "127.0.0.1:1"


def producer(**user: object) -> Producer:
    return Producer(producer_settings({"bootstrap.servers": NOBODY, **user}, {}, guarantee=Guarantee.AT_LEAST_ONCE))


def test_a_membership_shows_generation_and_member_id() -> None:
    member = Membership.parse(b"CGMDv2:\x05\x00\x00\x00group\0slot-1234\0\0slot\0")
    assert (member.generation, member.member_id) == (5, "slot-1234")
    assert member.is_fencing


def test_a_consumer_that_joined_nothing_would_not_be_fenced_and_says_so() -> None:
    settings = consumer_settings(
        {"bootstrap.servers": NOBODY, "group.id": "g", "log_level": 0}, guarantee=Guarantee.EXACTLY_ONCE
    )
    consumer = GroupConsumer(settings, FakeAssignment([], FakeConsumer([], {})))
    member = consumer.membership()
    consumer.close()
    assert member.generation == -1
    assert not member.is_fencing
    client = producer(log_level=0)
    with pytest.raises(AbortableError, match="rule 2"):
        client.send_offsets({("t", 0): 1}, {}, member)
    client.discard()


def test_group_metadata_of_an_unknown_layout_is_refused() -> None:
    with pytest.raises(FatalError, match="unknown layout"):
        Membership.parse(b"CGMDv9:whatever")


def test_a_record_larger_than_the_client_sends_is_refused_as_the_records_fault() -> None:
    client = producer(log_level=0)
    with pytest.raises(OutputRefused):
        client.produce([Output("t", None, b"x" * 2_000_000, event_id("large"))])
    client.discard()


def test_a_failed_delivery_poisons_until_the_failures_are_taken() -> None:
    client = producer(**{"log_level": 0, "message.timeout.ms": 10})
    client.produce([Output("t", b"k", b"v", event_id("late"), ((EVENT_ID_HEADER, b"stale"),))])
    with pytest.raises(AbortableError, match="_MSG_TIMED_OUT"):
        client.flush()
    assert client.take_failures() == 1
    client.raise_if_poisoned()
    client.discard()


def test_a_purge_poisons_nothing() -> None:
    client = producer(log_level=0)
    client.produce([Output("t", b"k", b"v", event_id("purged"))])
    client._producer.purge()
    client.flush()
    assert client.take_failures() == 0
    client.discard()
