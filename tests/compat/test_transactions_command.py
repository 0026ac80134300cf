"""``kafka-transactions.sh`` and ``kafka-features.sh`` against our broker: the tools by which a hanging transaction is
found and ended (KIP-664)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.brokers import Cluster, Names
from tests.support.clients import make_topic
from tests.support.hanging import hanging_here
from tests.support.java import run_tool
from tests.support.wire import WireClient
from tests.support.wire_producer import WireProducer, log_of

TRANSACTIONS = "org.apache.kafka.tools.TransactionsCommand"
FEATURES = "org.apache.kafka.tools.FeatureCommand"


@pytest.fixture
def wire(embedded_cluster: Cluster) -> Iterator[WireClient]:
    with WireClient(embedded_cluster.bootstrap) as client:
        yield client


def table(bootstrap: str, *arguments: str, main_class: str = TRANSACTIONS) -> list[dict[str, str]]:
    """What the tool prints, a row at a time, by its headings."""
    printed = run_tool(main_class, "--bootstrap-server", bootstrap, *arguments)
    headings, *rows = [[cell.strip() for cell in line.split("\t")] for line in printed.splitlines() if line.strip()]
    return [dict(zip(headings, row, strict=False)) for row in rows]


def test_an_open_transaction_is_listed_described_and_aborted(
    embedded_cluster: Cluster, wire: WireClient, names: Names
) -> None:
    bootstrap = embedded_cluster.bootstrap
    topic, identity = make_topic(bootstrap, names("tool"), partitions=2), names("tx")
    producer = WireProducer(wire, identity, timeout_ms=300_000)
    assert producer.init() == "none"
    assert [producer.produce(topic, partition=index)[0] for index in (0, 1)] == ["none", "none"]
    listed = {row["TransactionalId"]: row["TransactionState"] for row in table(bootstrap, "list")}
    assert listed[identity] == "Ongoing"
    (described,) = table(bootstrap, "describe", "--transactional-id", identity)
    assert (described["ProducerId"], described["ProducerEpoch"]) == tuple(map(str, producer.owner))
    assert (described["TransactionTimeoutMs"], described["TransactionState"]) == ("300000", "Ongoing")
    assert set(described["TopicPartitions"].split(",")) == {f"{topic}-0", f"{topic}-1"}
    (of_partition,) = table(bootstrap, "describe-producers", "--topic", topic, "--partition", "0")
    assert (of_partition["LastSequence"], of_partition["CurrentTransactionStartOffset"]) == ("0", "0")
    run_tool(
        TRANSACTIONS,
        *("--bootstrap-server", bootstrap, "abort", "--topic", topic, "--partition", "0", "--start-offset", "0"),
    )
    (of_partition,) = table(bootstrap, "describe-producers", "--topic", topic, "--partition", "0")
    assert (of_partition["LatestCoordinatorEpoch"], of_partition["CurrentTransactionStartOffset"]) == ("0", "None")
    assert [kind for kind, *_ in log_of(wire, topic)] == ["data", "abort"]
    run_tool(TRANSACTIONS, "--bootstrap-server", bootstrap, "forceTerminateTransaction", "--transactionalId", identity)
    assert [kind for kind, *_ in log_of(wire, topic, partition=1)] == ["data", "abort"]
    assert producer.end(commit=True) == "producer_fenced"


def test_a_hanging_transaction_is_found_and_ended(tmp_path: Path) -> None:
    """One that the coordinator knows nothing of, as a log from elsewhere may hold it: written past every check."""

    async def run() -> None:
        async with hanging_here(tmp_path / "data") as (bootstrap, partition):
            (found,) = await asyncio.to_thread(table, bootstrap, "find-hanging", "--broker-id", "1")
            assert (found["Topic"], found["ProducerId"], found["ProducerEpoch"], found["StartOffset"]) == (
                "t",
                "4711",
                "3",
                "0",
            )
            assert partition.last_stable_offset == 0
            await asyncio.to_thread(
                run_tool,
                TRANSACTIONS,
                *("--bootstrap-server", bootstrap, "abort", "--topic", "t", "--partition", "0", "--start-offset", "0"),
            )
            assert partition.last_stable_offset == partition.high_watermark == 2
            assert await asyncio.to_thread(table, bootstrap, "find-hanging", "--broker-id", "1") == []

    asyncio.run(run())


def test_the_features_are_shown(embedded_cluster: Cluster) -> None:
    printed = run_tool(FEATURES, "--bootstrap-server", embedded_cluster.bootstrap, "describe")
    levels = {line.split()[1]: line.split("FinalizedVersionLevel:")[1].split()[0] for line in printed.splitlines()}
    assert levels["transaction.version"] == "2"
    assert levels["metadata.version"] == "4.3-IV0"
