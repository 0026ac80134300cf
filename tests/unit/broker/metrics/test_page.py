"""``/metrics`` and ``/healthz`` of a running broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.wire import WireClient, nested
from tests.support.wire_producer import WireProducer

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.instance import BrokerInstance
from tallystick.broker.metrics import page as page_module
from tallystick.broker.metrics.page import MetricsPage
from tallystick.broker.options import BrokerOptions
from tallystick.errors import ConfigurationError

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@asynccontextmanager
async def running(data: Path, *, fsync: FsyncPolicy = FsyncPolicy.COMMIT) -> AsyncIterator[BrokerInstance]:
    options = BrokerOptions(host="127.0.0.1", port=0, data=data, fsync=fsync, metrics_address=("127.0.0.1", 0))
    instance = await BrokerInstance.start(options)
    try:
        yield instance
    finally:
        await instance.stop()


async def get(port: int | None, request: bytes) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        answer = await reader.read()
    except ConnectionResetError:  # it was closed with something unread
        answer = b""
    head, _, body = answer.partition(b"\r\n\r\n")
    writer.close()
    return int(head.split(b" ")[1]) if head else 0, body.decode()


async def metrics(instance: BrokerInstance) -> Samples:
    status, body = await get(instance.metrics_port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"tallystick_{name}", frozenset(labels.items())]


def work(port: int) -> None:
    """Make a topic, leave a transaction open in it, open a fetch session, and ask for a topic that is not there."""
    with WireClient(f"127.0.0.1:{port}") as client:
        topic = nested(
            "create_topics",
            7,
            "CreatableTopic",
            name="t",
            num_partitions=2,
            replication_factor=1,
            assignments=(),
            configs=(),
        )
        client.ask("create_topics", 7, topics=(topic,), timeout=timedelta(seconds=5), validate_only=False)
        producer = WireProducer(client, "open")
        assert producer.init() == "none"
        assert producer.produce("t")[0] == "none"
        rows = (nested("fetch", 12, "FetchPartition", partition=0, fetch_offset=0, partition_max_bytes=1),)
        client.ask(
            "fetch",
            12,
            max_wait=timedelta(0),
            min_bytes=0,
            session_id=0,
            session_epoch=0,
            topics=(nested("fetch", 12, "FetchTopic", topic="t", partitions=rows),),
            forgotten_topics_data=(),
        )
        wanted = nested("metadata", 12, "MetadataRequestTopic", topic_id=None, name="not there")
        client.ask("metadata", 12, topics=(wanted,), include_topic_authorized_operations=False)


def test_what_a_broker_does_is_counted_and_what_it_holds_is_told(tmp_path: Path) -> None:
    async def run() -> Samples:
        async with running(tmp_path) as instance:
            await asyncio.to_thread(work, instance.port)
            return await metrics(instance)

    told = asyncio.run(run())
    assert value(told, "requests_total", api="produce") == 1
    assert value(told, "requests_total", api="create_topics") == 1
    assert value(told, "request_errors_total", api="metadata", error="INVALID_TOPIC_EXCEPTION") == 1
    assert value(told, "request_seconds_count", api="produce") == 1
    assert value(told, "request_bytes_total", api="produce") > 50
    assert value(told, "response_bytes_total", api="metadata") > 50
    assert value(told, "connections_accepted_total") == 1
    assert value(told, "topics") == 1
    assert value(told, "partitions", topic="t") == 2
    assert value(told, "log_bytes", topic="t") > 60
    assert value(told, "log_end_offsets", topic="t") == 1
    assert value(told, "last_stable_offset_lag", topic="t") == 1
    assert value(told, "open_transactions") == 1
    assert value(told, "oldest_open_transaction_seconds") >= 0
    assert value(told, "transactional_ids", state="Ongoing") == 1
    assert value(told, "fetch_sessions") == 1
    assert value(told, "fetch_session_partitions") == 1
    assert value(told, "fsync_seconds_count") >= 1
    assert value(told, "coordinators_journal_bytes") > 0
    assert value(told, "disk_failed") == 0
    assert value(told, "log_events_total", level="error") >= 0
    assert told["process_resident_memory_bytes", frozenset()] > 0


def test_without_the_option_nothing_is_counted_and_nothing_listens(tmp_path: Path) -> None:
    async def run() -> None:
        options = BrokerOptions(host="127.0.0.1", port=0, data=tmp_path)
        instance = await BrokerInstance.start(options)
        assert instance.metrics_port is None
        assert instance.node.durability.observe_sync is None
        await instance.stop()

    asyncio.run(run())


def test_a_broker_whose_disk_has_failed_is_not_healthy(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, fsync=FsyncPolicy.NEVER) as instance:
            assert await get(instance.metrics_port, b"GET /healthz HTTP/1.1\r\n\r\n") == (200, "ok\n")
            instance.node.durability.failure = OSError(5, "Input/output error")
            status, reason = await get(instance.metrics_port, b"GET /healthz HTTP/1.1\r\n\r\n")
            assert status == 503
            assert "Input/output error" in reason
            instance.node.durability.failure = None

    asyncio.run(run())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /healthz?x=1 HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"\r\n\r\n", 404),
        (b"GET /metrics HTTP/1.1\r\n" + b"x" * 20_000, 0),
    ],
)
def test_a_request_is_answered_and_its_connection_ends(tmp_path: Path, request_: bytes, status: int) -> None:
    async def run() -> None:
        page = MetricsPage([], lambda: None)
        port = await page.open("127.0.0.1", 0)
        assert (await get(port, request_))[0] == status
        await page.close()

    asyncio.run(run())


def test_connections_that_say_nothing_are_few_and_do_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(page_module, "REQUEST_TIMEOUT_S", 1.0)

    async def run() -> None:
        page = MetricsPage([], lambda: None)
        port = await page.open("127.0.0.1", 0)
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        assert (await get(port, b"GET /healthz HTTP/1.1\r\n\r\n"))[0] == 0, "a third one is not served"
        for reader, writer in silent:
            assert await reader.read() == b""
            writer.close()
        assert (await get(port, b"GET /healthz HTTP/1.1\r\n\r\n"))[0] == 200
        await page.close()

    asyncio.run(run())


def test_it_listens_on_loopback_only() -> None:
    with pytest.raises(ConfigurationError, match="asks nobody for a name"):
        asyncio.run(MetricsPage([], lambda: None).open("192.0.2.1", 0))
