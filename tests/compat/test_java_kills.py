"""Java's transactions of version 2 while our broker is killed under them: every record is there, and once."""

from __future__ import annotations

import functools
import threading
from pathlib import Path

from confluent_kafka.admin import OffsetSpec
from tests.support.brokers import unique_name
from tests.support.clients import end_offset, eventually, make_topic, producer, read_all, send
from tests.support.java import run_tool

from tallystick.broker import EmbeddedBroker

COPIER = "org.apache.kafka.tools.TransactionalMessageCopier"
RECORDS = 15_000
KILLS = 4


def has_reached(bootstrap: str, topic: str, offset: int) -> bool:
    return end_offset(bootstrap, topic, OffsetSpec.latest()) >= offset


def test_a_java_copier_writes_every_record_once_over_kills_of_the_broker(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "data") as broker:
        bootstrap = broker.bootstrap
        source, target = make_topic(bootstrap, "source"), make_topic(bootstrap, "target")
        values = [str(number).encode() for number in range(RECORDS)]
        send(producer(bootstrap), source, values)
        failures: list[BaseException] = []

        def copy() -> None:
            try:
                run_tool(
                    COPIER,
                    *("--broker-list", bootstrap, "--input-topic", source, "--input-partition", "0"),
                    *("--output-topic", target, "--consumer-group", "g", "--transactional-id", unique_name("java")),
                    *("--max-messages", str(RECORDS), "--transaction-size", "5", "--enable-random-aborts"),
                    "--use-group-metadata",
                )
            except BaseException as error:  # noqa: BLE001 - raised by the main thread
                failures.append(error)

        copying = threading.Thread(target=copy)
        copying.start()
        for kill in range(1, KILLS + 1):
            reached = kill * RECORDS // (2 * KILLS)  # the log is longer than the records: aborted ones, and markers
            eventually(functools.partial(has_reached, bootstrap, target, reached))
            assert failures == []
            assert copying.is_alive(), f"the copier was done before kill {kill}"
            broker.kill()
            broker.start()
        copying.join(120)
        assert not copying.is_alive()
        assert failures == []
        assert read_all(bootstrap, target) == values
