"""What Apache Kafka does with a transaction one of whose partitions has no leader when it ends. Plain clients only.

Its coordinator takes such a partition for a deleted one, skips its marker, and calls the transaction complete: what
was committed is lost if the producer's next transaction there aborts, what was aborted becomes visible if that one
commits (KAFKA-20734). ``docs/verify.md`` tells how a single broker comes to it. When these fail with a later Kafka,
that document and what ``verify`` says about skipped markers have to change.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic, OffsetSpec
from tests.support.clients import WAIT_S, admin, end_offset, eventually, read_all, send, transactional
from tests.support.second_broker import NODE_ID, second_broker, start
from tests.support.toolchains.javac import compile_into

from tallystick.servers import ApacheKafka, apache_kafka

pytestmark = [pytest.mark.long, pytest.mark.apache, pytest.mark.timeout(300)]
TOPIC: Final = "on-the-second-broker"
_CLASS: Final = "org/apache/kafka/metadata/KRaftMetadataCache"
_RENAMED: Final = "org/apache/kafka/metadata/KRaftMetadataCach0"


def end(producer: Producer, how: str) -> None:
    """Raises unless the broker has acknowledged the end."""
    if how == "commit":
        producer.commit_transaction(WAIT_S)
    else:
        producer.abort_transaction(WAIT_S)


def seen_after(folder: Path, first: str, second: str) -> list[bytes]:
    """Two transactions of one producer; the first ends while the only replica of its partition is down."""
    with ApacheKafka(data=folder / "one") as kafka:
        # Made while there is one broker only, so that the coordinator stays when the other one dies.
        producer = transactional(kafka.bootstrap, "mine", transaction_timeout_ms=120_000)
        asked = admin(kafka.bootstrap)

        def leader() -> int:
            return int(asked.list_topics(TOPIC, timeout=WAIT_S).topics[TOPIC].partitions[0].leader)

        with second_broker(folder / "one", kafka.bootstrap, folder / "two") as other:
            asked.create_topics([NewTopic(TOPIC, 1, replica_assignment=[[NODE_ID]])])[TOPIC].result(WAIT_S)
            producer.begin_transaction()
            send(producer, TOPIC, [b"first"])
            other.kill()
            eventually(lambda: leader() == -1)
            end(producer, first)
            start(other, asked)
            eventually(lambda: leader() == NODE_ID)
            producer.begin_transaction()
            send(producer, TOPIC, [b"second"])
            end(producer, second)

            def latest(*, stable: bool) -> int:
                return end_offset(kafka.bootstrap, TOPIC, OffsetSpec.latest(), stable=stable)

            eventually(lambda: latest(stable=True) == latest(stable=False) > 2)
            return read_all(kafka.bootstrap, TOPIC)


def test_a_committed_record_is_lost_when_its_partition_had_no_leader_and_the_next_transaction_aborts(
    tmp_path: Path,
) -> None:
    assert seen_after(tmp_path, "commit", "abort") == []


def test_an_aborted_record_is_visible_when_its_partition_had_no_leader_and_the_next_transaction_commits(
    tmp_path: Path,
) -> None:
    assert seen_after(tmp_path, "abort", "commit") == [b"first", b"second"]


@pytest.mark.parametrize(("first", "second", "right"), [("commit", "abort", b"first"), ("abort", "commit", b"second")])
def test_it_is_one_method_that_answers_as_if_the_partition_were_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str, right: bytes
) -> None:
    classes, own = tmp_path / "classes", apache_kafka.class_path()
    renamed = classes / f"{_RENAMED}.class"
    renamed.parent.mkdir(parents=True)
    (jar,) = (path for path in own.split(":") if "/kafka-metadata-" in path)
    with zipfile.ZipFile(jar) as file:  # the names are of one length, so that no offset in the class moves
        renamed.write_bytes(file.read(f"{_CLASS}.class").replace(_CLASS.encode(), _RENAMED.encode()))
    compile_into(Path(__file__).parents[1] / "support" / "leaderless", classes)
    monkeypatch.setattr(apache_kafka, "class_path", lambda _=None: f"{classes}:{own}")
    assert seen_after(tmp_path, first, second) == [right]
