"""Each action, request by request: what is done, what is answered, and to whom."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from tests.support.brokers import unique_name
from tests.support.wire import WireClient, nested
from tests.support.wire_producer import WireProducer

from tallystick.broker import LocalBroker
from tallystick.broker.faults import (
    Action,
    AnswerError,
    Cut,
    Delay,
    DropRequest,
    DropResponse,
    Duplicate,
    Fault,
    FullDisk,
    Hold,
    Kill,
    Match,
    Pause,
    SkewClock,
)

SILENCE_S = 0.3
PRODUCE = Match(api="produce", client_id="struck")


@pytest.fixture
def topic(broker: LocalBroker) -> str:
    """A topic that exists, of the shared broker."""
    return made(broker)


def made(broker: LocalBroker) -> str:
    name = unique_name("orders")
    with WireClient(broker.bootstrap) as client:
        row = nested("metadata", 4, "MetadataRequestTopic", name=name)
        client.ask("metadata", 4, topics=(row,), allow_auto_topic_creation=True)
    return name


def producer(client: WireClient) -> WireProducer:
    """An idempotent producer that takes each answer as it comes."""
    made = WireProducer(client, None, patient=False)
    assert made.init() == "none"
    return made


def end_offset(broker: LocalBroker, topic: str) -> int:
    """Asked over a connection of its own."""
    with WireClient(broker.bootstrap) as client:
        wanted = nested("list_offsets", 4, "ListOffsetsPartition", partition_index=0, timestamp=-1)
        row = nested("list_offsets", 4, "ListOffsetsTopic", name=topic, partitions=(wanted,))
        answer = client.ask("list_offsets", 4, replica_id=-1, isolation_level=0, topics=(row,))
    return int(answer.topics[0].partitions[0].offset)


@contextlib.contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[list[object]]:
    """Let it wait for its answer meanwhile; the list has what it returned once it did."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    try:
        yield results
    finally:
        thread.join(30)
        assert not thread.is_alive()


def is_silent(client: WireClient, work: Callable[[], object]) -> bool:
    client.set_timeout(SILENCE_S)
    try:
        work()
    except TimeoutError:
        return True
    return False


def is_cut(work: Callable[[], object]) -> bool:
    try:
        work()
    except (AssertionError, ConnectionError):
        return True
    return False


def test_a_dropped_request_is_not_done_and_its_connection_is_silent(broker: LocalBroker, topic: str) -> None:
    with WireClient(broker.bootstrap, client_id="struck") as client:
        sender = producer(client)
        broker.faults.add(Fault(DropRequest(), on=PRODUCE))
        assert is_silent(client, lambda: sender.produce(topic, transactional=False))
    assert end_offset(broker, topic) == 0


def test_a_dropped_response_is_of_a_request_that_was_done(broker: LocalBroker, topic: str) -> None:
    with WireClient(broker.bootstrap, client_id="struck") as client:
        sender = producer(client)
        broker.faults.add(Fault(DropResponse(), on=PRODUCE))
        assert is_silent(client, lambda: sender.produce(topic, transactional=False))
    assert end_offset(broker, topic) == 1


@pytest.mark.parametrize(("action", "done"), [(Cut(), 0), (Cut("after"), 1)], ids=str)
def test_a_cut_connection_ends_before_or_after_the_request(
    broker: LocalBroker, topic: str, action: Action, done: int
) -> None:
    with WireClient(broker.bootstrap, client_id="struck") as client:
        sender = producer(client)
        broker.faults.add(Fault(action, on=PRODUCE))
        assert is_cut(lambda: sender.produce(topic, transactional=False))
    assert end_offset(broker, topic) == done


@pytest.mark.parametrize(
    ("action", "done"),
    [(AnswerError("NOT_LEADER_OR_FOLLOWER"), 0), (AnswerError("not_leader_or_follower", "after"), 1)],
    ids=str,
)
def test_an_error_is_answered_instead_of_the_request_or_in_place_of_its_success(
    broker: LocalBroker, topic: str, action: Action, done: int
) -> None:
    with WireClient(broker.bootstrap, client_id="struck") as client:
        sender = producer(client)
        broker.faults.add(Fault(action, on=PRODUCE))
        assert sender.produce(topic, transactional=False) == ("not_leader_or_follower", -1)
        assert end_offset(broker, topic) == done
        assert sender.produce(topic, transactional=False, sequence=0) == ("none", 0)


def test_an_error_that_nobody_waits_for_ends_the_connection(broker: LocalBroker, topic: str) -> None:
    with WireClient(broker.bootstrap, client_id="struck") as client:
        broker.faults.add(Fault(AnswerError("NOT_LEADER_OR_FOLLOWER"), on=PRODUCE))
        row = nested("produce", 11, "PartitionProduceData", index=0, records=b"")
        data = (nested("produce", 11, "TopicProduceData", name=topic, partition_data=(row,)),)
        fields = {"transactional_id": None, "acks": 0, "timeout": timedelta(0), "topic_data": data}
        assert is_cut(lambda: client.ask("produce", 11, **fields))


def test_a_duplicate_is_done_twice_and_the_second_outcome_is_answered(broker: LocalBroker, topic: str) -> None:
    with WireClient(broker.bootstrap, client_id="struck") as client:
        broker.faults.add(Fault(Duplicate(), on=PRODUCE, times=None))
        plain = WireProducer(client, None, patient=False)
        assert plain.produce(topic, transactional=False) == ("none", 1)
        assert end_offset(broker, topic) == 2
        idempotent = producer(client)
        assert idempotent.produce(topic, transactional=False) == ("none", 2)
        assert end_offset(broker, topic) == 3


@pytest.mark.parametrize("action", [Delay(40), Delay(40, "after"), Hold(), Hold("after")], ids=str)
def test_a_delayed_or_held_request_keeps_only_its_own_connection_waiting(
    broker: LocalBroker, topic: str, action: Action
) -> None:
    fault = Fault(action, on=PRODUCE)
    with WireClient(broker.bootstrap, client_id="struck") as client, WireClient(broker.bootstrap) as other:
        sender, free = producer(client), producer(other)
        broker.faults.add(fault)
        with in_thread(lambda: sender.produce(topic, transactional=False)[0]) as results:
            broker.faults.wait_for(fault)
            assert free.produce(topic, transactional=False)[0] == "none"
            if isinstance(action, Hold):
                assert results == []
                assert end_offset(broker, topic) == (1 if action.when == "before" else 2)
            broker.faults.release()
        assert results == ["none"]
    assert end_offset(broker, topic) == 2


def test_a_paused_broker_answers_nobody_until_it_is_resumed(broker: LocalBroker, topic: str) -> None:
    fault = Fault(Pause(), on=PRODUCE)
    with WireClient(broker.bootstrap, client_id="struck") as client, WireClient(broker.bootstrap) as other:
        sender, free = producer(client), producer(other)
        broker.faults.add(fault)
        with in_thread(lambda: sender.produce(topic, transactional=False)[0]) as results:
            broker.faults.wait_for(fault)
            assert is_silent(other, lambda: free.produce(topic, transactional=False))
            assert results == []
            broker.faults.resume()
        assert results == ["none"]
    broker.faults.pause()
    with WireClient(broker.bootstrap) as late:
        assert is_silent(late, lambda: late.ask("list_groups", 0))
    broker.faults.resume()
    assert end_offset(broker, topic) >= 1


def test_appends_fail_while_the_disk_is_full(broker: LocalBroker, topic: str) -> None:
    with WireClient(broker.bootstrap, client_id="struck") as client:
        sender = producer(client)
        broker.faults.add(Fault(FullDisk(2), on=PRODUCE))
        for expected in ("kafka_storage_error", "kafka_storage_error", "none"):
            assert sender.produce(topic, transactional=False)[0] == expected
        broker.faults.fill_disk()
        assert sender.produce(topic, transactional=False)[0] == "kafka_storage_error"
        broker.faults.free_disk()
        assert sender.produce(topic, transactional=False)[0] == "none"
    assert end_offset(broker, topic) == 2


def test_a_clock_that_jumps_times_a_transaction_out(own_broker: LocalBroker) -> None:
    topic = made(own_broker)
    own_broker.faults.add(Fault(SkewClock(by_ms=61_000), on=Match(api="list_groups")))
    with WireClient(own_broker.bootstrap) as client:
        sender = WireProducer(client, "shop", patient=False)
        sender.init()
        assert sender.produce(topic)[0] == "none"
        client.ask("list_groups", 0)
        client.set_timeout(20)
        fenced = None
        while fenced in {None, "none"}:  # the tick that looks at timeouts comes within 50 ms
            fenced = sender.produce(topic)[0]
    assert fenced in {"invalid_producer_epoch", "producer_fenced"}


@pytest.mark.parametrize(("action", "done"), [(Kill(), 0), (Kill("after"), 1)], ids=str)
def test_a_killed_broker_has_done_the_request_or_not_and_comes_back_with_its_faults_spent(
    own_broker: LocalBroker, action: Action, done: int
) -> None:
    topic = made(own_broker)
    kill = Fault(action, on=PRODUCE, nth=2)
    later = Fault(AnswerError("NOT_LEADER_OR_FOLLOWER"), on=PRODUCE, nth=4)
    own_broker.faults.add(kill, later)
    with WireClient(own_broker.bootstrap, client_id="struck") as client:
        sender = producer(client)
        assert sender.produce(topic, transactional=False) == ("none", 0)
        assert is_cut(lambda: sender.produce(topic, transactional=False))
    own_broker.start()
    assert own_broker.recovery["clean"] is False
    assert end_offset(own_broker, topic) == 1 + done
    with WireClient(own_broker.bootstrap, client_id="struck") as client:
        sender.client = client
        assert sender.produce(topic, transactional=False)[0] == "none"
        assert sender.produce(topic, transactional=False)[0] == "not_leader_or_follower"
    assert [entry.number for entry in own_broker.faults.injected] == [2, 4]
    assert end_offset(own_broker, topic) == 2
