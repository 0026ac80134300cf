"""The broker as a process, with a real client, real kills and real restarts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tallystick.broker import EmbeddedBroker
from tallystick.broker.embedded import BrokerDidNotStart
from tallystick.broker.log.segment import segment_path
from tallystick.broker.security.command_line import SecurityOptions
from tallystick.broker.security.listeners import plaintext_listener
from tallystick.broker.security.security import prepare
from tallystick.broker.security.settings import SecuritySettings
from tallystick.errors import ConfigurationError

WAIT_S = 30.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker that is not started yet."""
    made = EmbeddedBroker(tmp_path / "data", num_partitions=1)
    yield made
    made.stop()


def client_settings(broker: EmbeddedBroker, **settings: Any) -> dict[str, Any]:
    named = {name.replace("_", "."): value for name, value in settings.items()}
    return {"bootstrap.servers": broker.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200} | named


class Acknowledged:
    """An idempotent producer that notes what the broker acknowledged."""

    def __init__(self, broker: EmbeddedBroker, **settings: Any) -> None:
        self.offsets: dict[int, bytes] = {}
        self._producer = Producer(client_settings(broker, enable_idempotence=True, linger_ms=1, **settings))

    def send(self, values: list[bytes], *, wait: bool = True) -> None:
        for value in values:
            self._producer.produce("t", value, on_delivery=self._note)
        if wait:
            self.flush()

    def flush(self) -> None:
        assert self._producer.flush(WAIT_S) == 0

    def poll(self) -> None:
        self._producer.poll(0.05)

    def _note(self, error: Any, message: Any) -> None:
        assert error is None, error
        self.offsets[int(message.offset())] = bytes(message.value())


def read(broker: EmbeddedBroker, count: int) -> dict[int, bytes]:
    consumer = Consumer(client_settings(broker, group_id="reader", enable_auto_commit=False))
    consumer.assign([TopicPartition("t", 0, 0)])
    found: dict[int, bytes] = {}
    deadline = time.monotonic() + WAIT_S
    while len(found) < count and time.monotonic() < deadline:
        for message in consumer.consume(1_000, 0.2):
            if message.error() is None:
                offset, value = message.offset(), message.value()
                assert offset is not None
                assert value is not None
                found[offset] = value
    consumer.close()
    return found


def values(count: int, start: int = 0) -> list[bytes]:
    return [b"%06d" % number for number in range(start, start + count)]


def test_an_idempotent_producer_and_a_consumer_go_through_it(broker: EmbeddedBroker) -> None:
    broker.start()
    producer = Acknowledged(broker)
    producer.send(values(5_000))
    assert read(broker, 5_000) == producer.offsets == dict(enumerate(values(5_000)))


@pytest.mark.parametrize("fsync", ["never", "interval", "commit"])
def test_everything_acknowledged_survives_kill_9_and_nothing_is_written_twice(tmp_path: Path, fsync: str) -> None:
    broker = EmbeddedBroker(tmp_path / "data", num_partitions=1, fsync=fsync)
    broker.start()
    try:
        producer = Acknowledged(broker, metadata_recovery_strategy="none")
        producer.send(values(200))
        for round_number in range(2):
            start = 200 + round_number * 2_000
            producer.send(values(2_000, start), wait=False)
            before = len(producer.offsets)
            while len(producer.offsets) == before:
                producer.poll()
            broker.kill()
            acknowledged = dict(producer.offsets)
            broker.start()
            found = read(broker, len(acknowledged))
            assert {offset: found[offset] for offset in acknowledged} == acknowledged
            producer.flush()
        assert read(broker, 4_200) == dict(enumerate(values(4_200)))
    finally:
        broker.stop()


def test_a_torn_write_is_cut_at_start_and_told(broker: EmbeddedBroker) -> None:
    broker.start()
    Acknowledged(broker).send(values(10))
    broker.stop()
    (log,) = broker.data.glob("topics/*/0/*.log")
    assert log == segment_path(log.parent, 0)
    with log.open("ab") as file:
        file.write(log.read_bytes()[:70])
    broker.start()
    (torn,) = broker.recovery["torn"]
    assert torn["cut_bytes"] == 70
    assert "a torn write was cut off the log" in broker.log_path.read_text()
    assert list(read(broker, 10).values()) == values(10)


def test_restart_keeps_port_and_data_and_stop_is_graceful(broker: EmbeddedBroker) -> None:
    broker.start()
    Acknowledged(broker).send(values(10))
    address, pid = broker.bootstrap, broker.pid
    broker.restart()
    assert broker.bootstrap == address
    assert broker.pid != pid
    assert broker.recovery["topics"] == 1
    assert len(read(broker, 10)) == 10


def test_a_second_broker_on_the_same_folder_says_so(broker: EmbeddedBroker) -> None:
    broker.start()
    second = EmbeddedBroker(broker.data)
    with pytest.raises(BrokerDidNotStart, match="in use by another broker"):
        second.start()


def test_a_temporary_broker_leaves_nothing_behind() -> None:
    with EmbeddedBroker() as temporary:
        folder = temporary.data
        assert folder.exists()
    assert not folder.exists()


def test_the_broker_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib\n"
        "from tallystick.broker import EmbeddedBroker\n"
        f"broker = EmbeddedBroker(pathlib.Path({str(tmp_path / 'data')!r}))\n"
        "broker.start()\n"
        "print(broker.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + WAIT_S
    while _runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9092", ("127.0.0.1", 9092)),
        ("127.0.0.2:0", ("127.0.0.2", 0)),
        ("localhost:1", ("127.0.0.1", 1)),
        ("[::1]:9092", ("::1", 9092)),
    ],
)
def test_loopback_addresses_are_accepted(text: str, expected: tuple[str, int]) -> None:
    options = SecurityOptions(listen=[text])
    settings = options.settings(SecuritySettings())
    assert options.address(settings) == expected
    prepare(settings, plaintext_listener(*expected))


@pytest.mark.parametrize("text", ["0.0.0.0:9092", "192.168.1.5:9092", "example.org:9092", "[::]:1"])
def test_any_other_address_is_refused(text: str) -> None:
    options = SecurityOptions(listen=[text])
    settings = options.settings(SecuritySettings())
    with pytest.raises(ConfigurationError, match="lacks TLS and authentication"):
        prepare(settings, plaintext_listener(*options.address(settings)))


@pytest.mark.parametrize("text", ["127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000"])
def test_an_address_without_a_port_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not host:port"):
        SecurityOptions(listen=[text]).address(SecuritySettings())


def test_the_settings_of_kafkas_own_file_start_it_and_those_without_effect_are_told_once(tmp_path: Path) -> None:
    shipped = Path(__file__).with_name("broker_configs") / "server.properties"
    settings = {"broker.rack": "shelf", "num.partitions": "3"}
    with EmbeddedBroker(tmp_path / "data", settings=settings, options=["--properties", str(shipped)]) as broker:
        cluster = Producer(client_settings(broker)).list_topics("made", timeout=WAIT_S)
        assert len(cluster.topics["made"].partitions) == 3
        log = broker.log_path.read_text()
    assert log.count('"setting": "num.io.threads"') == 1
    assert "server.properties, line" in log


def test_an_unknown_setting_keeps_it_from_starting(tmp_path: Path) -> None:
    with pytest.raises(BrokerDidNotStart, match=r"--set: .*Did you mean num.partitions\?"):
        EmbeddedBroker(tmp_path / "data", settings={"num.partitons": "3"}).start()


def test_the_log_can_be_for_people_and_the_ready_line_names_the_port_of_metrics(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tallystick.broker", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0"]
    command += ["--log-format", "text", "--metrics-listen", "127.0.0.1:0", "--set", "num.io.threads=3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        process.terminate()
        _, log = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert ready["metrics_port"] > 0
    assert "a setting has no effect here" in log
    assert not log.startswith("{")
