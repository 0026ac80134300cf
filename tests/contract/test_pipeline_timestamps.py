"""Event time over one step and the next: what an output's timestamp is, on both brokers."""

from __future__ import annotations

import time
from collections.abc import Iterator

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message
from tests.support.brokers import Cluster, Names
from tests.support.clients import WAIT_S, make_topic, producer
from tests.support.pipeline import RunningLoop, header, read_until

from tallystick.pipeline import Emit, ErrorPolicy, Record

MARCH_MS = 1_772_323_200_000
HOUR_MS = 3_600_000
KEPT = {"retention.ms": "-1"}
"""For topics with records of March."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def put_at(bootstrap: str, topic: str, *records: tuple[bytes, int]) -> None:
    client = producer(bootstrap)
    for value, timestamp_ms in records:
        client.produce(topic, value, b"key", timestamp=timestamp_ms)
    assert client.flush(WAIT_S) == 0


def stamps(messages: list[Message]) -> dict[bytes, int]:
    return {message.value() or b"": message.timestamp()[1] for message in messages}


def test_an_output_has_its_inputs_timestamp_unless_it_is_given_one_or_its_topic_takes_the_brokers(
    kafka: Cluster, names: Names
) -> None:
    source, target = (make_topic(kafka.bootstrap, names(kind), config=KEPT) for kind in ("in", "out"))
    appended = make_topic(kafka.bootstrap, names("log"), config={"message.timestamp.type": "LogAppendTime"})

    def copy(record: Record) -> Iterator[Emit]:
        yield Emit(target, record.key, b"inherits " + (record.value or b""))
        yield Emit(target, record.key, b"own " + (record.value or b""), timestamp_ms=MARCH_MS - 5)
        yield Emit(appended, record.key, record.value)

    before_ms = now_ms()
    put_at(kafka.bootstrap, source, (b"a", MARCH_MS), (b"b", MARCH_MS + 1))
    with RunningLoop(kafka.bootstrap, names("g"), source, copy):
        found = read_until(kafka.bootstrap, [target, appended], lambda found: len(found) == 6)
    written = [one for one in found if one.topic() == target]
    assert stamps(written) == {
        b"inherits a": MARCH_MS,
        b"inherits b": MARCH_MS + 1,
        b"own a": MARCH_MS - 5,
        b"own b": MARCH_MS - 5,
    }
    for one in found:
        if one.topic() == appended:
            kind, timestamp_ms = one.timestamp()
            assert kind == TIMESTAMP_LOG_APPEND_TIME
            assert timestamp_ms >= before_ms - HOUR_MS  # the broker's clock


def test_an_output_further_ahead_than_its_topic_takes_is_a_dead_letter_of_now_with_its_origins_time(
    kafka: Cluster, names: Names
) -> None:
    """``message.timestamp.after.max.ms`` is an hour unless the topic says otherwise."""
    source, target = (make_topic(kafka.bootstrap, names(kind), config=KEPT) for kind in ("in", "out"))
    letters = make_topic(kafka.bootstrap, names("letters"))
    before_ms = now_ms()

    def copy(record: Record) -> Emit:
        ahead = 2 * HOUR_MS if record.value == b"ahead" else 0
        return Emit(target, record.key, record.value, timestamp_ms=before_ms + ahead if ahead else None)

    put_at(kafka.bootstrap, source, (b"a", MARCH_MS), (b"ahead", MARCH_MS + 1), (b"b", MARCH_MS + 2))
    policy = ErrorPolicy(tries=2)
    with RunningLoop(kafka.bootstrap, names("g"), source, copy, on_error=policy, dead_letter_topic=letters) as running:
        found = read_until(kafka.bootstrap, [target, letters], lambda found: len(found) == 3)
    assert running.raised is None
    assert stamps([one for one in found if one.topic() == target]) == {b"a": MARCH_MS, b"b": MARCH_MS + 2}
    (letter,) = [one for one in found if one.topic() == letters]
    assert letter.value() == b"ahead"
    assert b"INVALID_TIMESTAMP" in header(letter, "tallystick-failure-cause")
    assert int(header(letter, "tallystick-failure-timestamp-ms")) == MARCH_MS + 1
    assert abs(letter.timestamp()[1] - now_ms()) < HOUR_MS
