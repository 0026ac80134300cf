"""A broker of one's own, in a child and in a thread: the same face, the same promises."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs
from tests.support.clients import eventually, make_topic, producer, read_all, send, transactional
from tests.support.wire import WireClient
from tests.support.wire_producer import WireProducer

from tallystick.broker import EmbeddedBroker, InProcessBroker, LocalBroker
from tallystick.broker.embedded import BrokerDidNotStart
from tallystick.broker.faults import Fault, Hold, Match
from tallystick.clock import ManualClock, SystemClock
from tallystick.errors import ConfigurationError

VALUES = [b"%d" % number for number in range(100)]


@pytest.fixture(params=[EmbeddedBroker, InProcessBroker], ids=lambda kind: kind.__name__)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalBroker]:
    """Not started yet."""
    made = request.param(tmp_path / "data", num_partitions=1)
    yield made
    made.stop()


@pytest.mark.parametrize("fsync", ["never", "commit"])
@pytest.mark.parametrize("kind", [EmbeddedBroker, InProcessBroker], ids=lambda kind: kind.__name__)
def test_what_was_acknowledged_is_there_after_a_kill_on_the_same_port(
    kind: type[LocalBroker], fsync: str, tmp_path: Path
) -> None:
    with kind(tmp_path / "data", num_partitions=1, fsync=fsync) as broker:
        bootstrap = broker.bootstrap
        send(producer(bootstrap), "orders", VALUES)
        broker.kill()
        assert not broker.is_running
        broker.start()
        assert broker.bootstrap == bootstrap
        assert broker.recovery["clean"] is False
        assert read_all(bootstrap, "orders") == VALUES


def test_a_stop_is_an_end_in_order(broker: LocalBroker) -> None:
    broker.start()
    send(producer(broker.bootstrap), "orders", VALUES)
    broker.restart()
    assert broker.recovery["clean"] is True
    assert read_all(broker.bootstrap, "orders") == VALUES


def test_topics_are_made_and_deleted_without_a_client(broker: LocalBroker) -> None:
    broker.start()
    assert broker.create_topic("orders", partitions=3, configs={"retention.ms": "1000"}) == "orders"
    with pytest.raises(ConfigurationError, match="exists already"):
        broker.create_topic("orders")
    with pytest.raises(ConfigurationError, match="retention"):
        broker.create_topic("others", configs={"retention.m": "1"})
    broker.delete_topic("orders")
    with pytest.raises(ConfigurationError, match="no topic"):
        broker.delete_topic("orders")
    broker.stop()
    with pytest.raises(ConfigurationError, match="does not run"):
        broker.create_topic("orders")


def test_a_broker_is_paused_and_resumed(broker: LocalBroker) -> None:
    broker.start()
    broker.pause()
    with WireClient(broker.bootstrap) as client:
        client.set_timeout(0.2)
        with pytest.raises(TimeoutError):
            client.ask("list_groups", 0)
    broker.resume()
    with WireClient(broker.bootstrap) as client:
        assert client.ask("list_groups", 0).error_code.name == "none"


def test_a_stop_lets_a_request_at_work_be_answered(broker: LocalBroker) -> None:
    broker.start()
    broker.create_topic("orders")
    hold = Fault(Hold("after"), on=Match(api="produce"))
    broker.faults.add(hold)
    answers: list[str] = []

    def write() -> None:
        with WireClient(broker.bootstrap) as client:
            answers.append(WireProducer(client, None, patient=False).produce("orders", transactional=False)[0])

    writing = threading.Thread(target=write)
    writing.start()
    broker.faults.wait_for(hold)
    faults = broker.faults
    stopping = threading.Thread(target=broker.stop)
    stopping.start()
    eventually(lambda: not _listens(broker))
    faults.release()
    writing.join(20)
    stopping.join(20)
    assert answers == ["none"]


def _listens(broker: LocalBroker) -> bool:
    try:
        socket.create_connection((broker.host, broker.port), 5).close()
    except OSError:
        return False
    return True


def test_the_second_broker_on_a_folder_says_who_has_it(broker: LocalBroker) -> None:
    broker.start()
    with pytest.raises(BrokerDidNotStart, match=f"in use by another broker .pid {_pid(broker)}"):
        type(broker)(broker.data).start()


def _pid(broker: LocalBroker) -> int:
    return broker.pid if isinstance(broker, EmbeddedBroker) else os.getpid()


def test_a_broker_that_runs_is_not_started_again(broker: LocalBroker) -> None:
    broker.start()
    with pytest.raises(ConfigurationError, match="runs already"):
        broker.start()


def test_what_the_broker_logs_is_in_its_log(broker: LocalBroker) -> None:
    broker.start()
    with WireClient(broker.bootstrap) as client:
        client._socket.sendall(b"\x00\x00\x00\x08" + b"\xff" * 8)
        with pytest.raises(AssertionError):
            client._exactly(1)
    eventually(lambda: "unsupported" in broker.log_tail() or "malformed" in broker.log_tail())
    assert all(json.loads(line)["event"] for line in broker.log_path.read_text().splitlines())


@pytest.mark.parametrize("kind", [EmbeddedBroker, InProcessBroker], ids=lambda kind: kind.__name__)
def test_it_is_an_asynchronous_context_manager_too(kind: type[LocalBroker]) -> None:
    async def run() -> Path:
        async with kind(num_partitions=1) as broker:
            _, writer = await asyncio.open_connection(broker.host, broker.port)
            writer.close()
            return broker.data

    assert not asyncio.run(run()).exists()


def test_a_data_folder_that_was_given_stays(tmp_path: Path) -> None:
    with InProcessBroker(tmp_path / "data") as broker:
        broker.create_topic("orders")
    assert (tmp_path / "data" / "topics.journal").exists()
    assert not broker.log_path.exists()


def test_brokers_in_one_process_do_not_know_of_each_other() -> None:
    with InProcessBroker(num_partitions=1) as one, InProcessBroker(num_partitions=1) as other:
        send(producer(one.bootstrap), "orders", VALUES)
        other.create_topic("orders")
        assert read_all(other.bootstrap, "orders") == []
        assert read_all(one.bootstrap, "orders") == VALUES


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_nothing_of_a_broker_in_this_process_is_left(how: str, tmp_path: Path) -> None:
    def once() -> None:
        broker = InProcessBroker(tmp_path / "data", num_partitions=1, fsync="commit")
        broker.start()
        send(producer(broker.bootstrap), "orders", VALUES)
        getattr(broker, how)()

    def left() -> tuple[int, list[str]]:
        gc.collect()
        files = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        ours = [name for name in files if str(tmp_path) in name]
        return len(ours), [thread.name for thread in threading.enumerate() if thread.name.startswith("tallystick")]

    once()
    assert left() == (0, [])


def test_the_programs_own_log_stays_as_it_was() -> None:
    before = structlog.is_configured(), structlog.get_config()["processors"]
    with InProcessBroker() as broker:
        structlog.get_logger().info("of the program")
    assert "of the program" not in broker.log_tail()
    assert (structlog.is_configured(), structlog.get_config()["processors"]) == before
    with capture_logs() as logs:
        structlog.get_logger().info("afterwards")
    assert [entry["event"] for entry in logs] == ["afterwards"]


def test_a_clock_that_is_moved_by_hand_times_a_transaction_out() -> None:
    clock = ManualClock(start_ms=SystemClock().now_ms())  # the clients' own time stamps must not be of the future
    broker = InProcessBroker(num_partitions=1)
    broker.clock = clock
    with broker:
        make_topic(broker.bootstrap, "orders")
        shop = transactional(broker.bootstrap, "shop", transaction_timeout_ms=20_000)
        shop.begin_transaction()
        send(shop, "orders", VALUES)
        assert read_all(broker.bootstrap, "orders") == []
        clock.advance(by_ms=20_001)
        send(producer(broker.bootstrap), "orders", [b"after"])
        eventually(lambda: read_all(broker.bootstrap, "orders") == [b"after"])
