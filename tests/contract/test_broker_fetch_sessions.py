"""Fetch sessions (KIP-227), frame by frame, on our broker and on Apache Kafka."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from tests.support.brokers import Cluster, Names
from tests.support.clients import eventually, make_topic, producer, send
from tests.support.wire import WireClient, nested

BY_NAME, BY_ID = 12, 17
FINAL = -1


@dataclass(slots=True)
class Fetcher:
    """A client that fetches from partitions of one topic at the offsets that it is told."""

    client: WireClient
    topic: str
    topic_id: uuid.UUID | None
    version: int = BY_ID
    offsets: dict[int, int] = field(default_factory=dict)

    def _topic(self, name: str, **fields: Any) -> Any:
        identity = {"topic_id": self.topic_id} if self.version >= 13 else {"topic": self.topic}
        return nested("fetch", self.version, name, **identity, **fields)

    def fetch(
        self, session_id: int, epoch: int, *indexes: int, forget: Sequence[int] = (), offset: int | None = None
    ) -> Any:
        rows = tuple(
            nested(
                "fetch",
                self.version,
                "FetchPartition",
                partition=index,
                fetch_offset=self.offsets.get(index, 0) if offset is None else offset,
                partition_max_bytes=100_000,
            )
            for index in indexes
        )
        return self.client.ask(
            "fetch",
            self.version,
            replica_id=-1,
            max_wait=timedelta(milliseconds=50),
            min_bytes=1,
            max_bytes=1_000_000,
            session_id=session_id,
            session_epoch=epoch,
            topics=(self._topic("FetchTopic", partitions=rows),) if rows else (),
            forgotten_topics_data=(self._topic("ForgottenTopic", partitions=tuple(forget)),) if forget else (),
            rack_id="",
        )

    def open(self, *indexes: int) -> int:
        """A session that was told everything; its next epoch is 2."""
        full = self.fetch(0, 0, *indexes)
        assert told(full) == list(indexes)
        assert full.session_id > 0
        nothing = self.fetch(full.session_id, 1)
        assert (code(nothing), told(nothing)) == (("none", full.session_id), [])
        return int(full.session_id)

    def has_a_leader_everywhere(self) -> bool:
        """Apache Kafka's broker learns of a topic partition by partition."""
        rows = [row for topic in self.fetch(0, FINAL, 0, 1, 2).responses for row in topic.partitions]
        return {row.error_code.name for row in rows} == {"none"}


def told(answer: Any) -> list[int]:
    """The partitions that the answer tells of."""
    return [row.partition_index for topic in answer.responses for row in topic.partitions]


def code(answer: Any) -> tuple[str, int]:
    return answer.error_code.name, answer.session_id


@pytest.fixture(params=[BY_NAME, BY_ID], ids=["by name", "by id"])
def fetcher(kafka: Cluster, names: Names, request: pytest.FixtureRequest) -> Iterator[Fetcher]:
    topic = make_topic(kafka.bootstrap, names("sessions"), partitions=3)
    with WireClient(kafka.bootstrap) as client:
        (row,) = client.ask(
            "metadata",
            12,
            topics=(nested("metadata", 12, "MetadataRequestTopic", topic_id=None, name=topic),),
            include_topic_authorized_operations=False,
        ).topics
        made = Fetcher(client, topic, row.topic_id, request.param)
        eventually(made.has_a_leader_everywhere)
        yield made


def test_a_session_tells_only_what_has_changed(kafka: Cluster, fetcher: Fetcher) -> None:
    session = fetcher.open(0, 1, 2)
    send(producer(kafka.bootstrap), fetcher.topic, [b"x"], partition=1)
    assert told(fetcher.fetch(session, 2)) == [1]
    assert told(fetcher.fetch(session, 3)) == [1], "the client has not moved on"
    fetcher.offsets[1] = 1
    assert told(fetcher.fetch(session, 4, 1)) == [], "it has, and its next offset is the end"


def test_partitions_join_and_leave_a_session(kafka: Cluster, fetcher: Fetcher) -> None:
    session = fetcher.open(0)
    assert told(fetcher.fetch(session, 2, 1)) == [1]
    send(producer(kafka.bootstrap), fetcher.topic, [b"x"], partition=0)
    send(producer(kafka.bootstrap), fetcher.topic, [b"x"], partition=1)
    assert told(fetcher.fetch(session, 3, forget=[0])) == [1]
    ended = fetcher.fetch(session, 4, forget=[1])
    assert (code(ended), told(ended)) == (("none", 0), [])
    assert code(fetcher.fetch(session, 5)) == ("fetch_session_id_not_found", 0)


def test_a_request_out_of_turn_is_refused_and_the_session_goes_on(fetcher: Fetcher) -> None:
    session = fetcher.fetch(0, 0, 0).session_id
    assert code(fetcher.fetch(session, 7)) == ("invalid_fetch_session_epoch", 0)
    assert code(fetcher.fetch(session, 1)) == ("none", session)
    assert code(fetcher.fetch(session, 1)) == ("invalid_fetch_session_epoch", 0)


def test_a_session_that_is_not_there_is_not_found(fetcher: Fetcher) -> None:
    assert code(fetcher.fetch(123_456_789, 1, 0)) == ("fetch_session_id_not_found", 0)
    assert code(fetcher.fetch(0, 1, 0)) == ("fetch_session_id_not_found", 0)


def test_a_new_session_ends_the_one_that_it_names(fetcher: Fetcher) -> None:
    first = fetcher.fetch(0, 0, 0).session_id
    second = fetcher.fetch(first, 0, 0).session_id
    assert second not in (0, first)
    assert code(fetcher.fetch(first, 1)) == ("fetch_session_id_not_found", 0)


def test_the_final_epoch_ends_a_session_and_reads_without_one(kafka: Cluster, fetcher: Fetcher) -> None:
    session = fetcher.fetch(0, 0, 0).session_id
    last = fetcher.fetch(session, FINAL, 0, 2)
    assert (code(last), told(last)) == (("none", 0), [0, 2])
    assert code(fetcher.fetch(session, 1)) == ("fetch_session_id_not_found", 0)
    assert code(fetcher.fetch(0, FINAL)) == ("none", 0)


def test_an_error_in_a_session_is_told_each_time(fetcher: Fetcher) -> None:
    session = fetcher.open(0, 1)
    for epoch, wanted in ((2, [1]), (3, [])):
        answer = fetcher.fetch(session, epoch, *wanted, offset=99)
        assert told(answer) == [1]
        (topic,) = answer.responses
        assert topic.partitions[0].error_code.name == "offset_out_of_range"


def test_a_session_changes_between_names_and_ids_never(fetcher: Fetcher) -> None:
    session = fetcher.fetch(0, 0, 0).session_id
    fetcher.version = BY_ID if fetcher.version == BY_NAME else BY_NAME
    assert code(fetcher.fetch(session, 1)) == ("fetch_session_topic_id_error", 0)


def test_a_partition_with_data_does_not_starve_the_others(kafka: Cluster, fetcher: Fetcher) -> None:
    session = fetcher.open(0, 1, 2)
    send(producer(kafka.bootstrap), fetcher.topic, [b"x"], partition=0)
    assert told(fetcher.fetch(session, 2)) == [0]
    for index in (1, 2):
        send(producer(kafka.bootstrap), fetcher.topic, [b"x"], partition=index)
    assert told(fetcher.fetch(session, 3)) == [1, 2, 0]
