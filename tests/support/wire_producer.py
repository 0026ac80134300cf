"""A transactional producer, request by request: for what no client library would send, against any broker.

It keeps no state but its producer id, epoch and sequences, so that a test can make it a zombie, repeat a request or mix
transaction versions. What passes by itself is asked again until it has passed: Apache Kafka answers EndTxn before the
markers are written and says so to the next request, and it leads nothing for a moment after a start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Protocol

from tests.support.clients import WAIT_S
from tests.support.wire import nested

from tallystick.wire.records import BatchSpec, decode_batch, encode_batch, iterate_batches, read_marker

TV1: Final = {"produce": 11, "end_txn": 4, "txn_offset_commit": 4}
TV2: Final = {"produce": 12, "end_txn": 5, "txn_offset_commit": 5}
"""The first versions that mean transaction version 2, and the last ones before (KIP-890)."""

_PASSING: Final = {
    "concurrent_transactions",
    "not_enough_replicas",
    "not_leader_or_follower",
    "not_coordinator",
    "coordinator_not_available",
    "coordinator_load_in_progress",
}


class Asks(Protocol):
    """A connection, or what stands for one."""

    def now_ms(self) -> int:
        """The broker's time: a record may not be of a time far ahead of it."""
        ...

    def ask(self, api: str, version: int, /, **fields: Any) -> Any: ...


@dataclass
class WireProducer:
    """One producer instance. Answers are error names in small letters, ``none`` for success.

    Who is not ``patient`` takes every answer as it comes.
    """

    client: Asks
    transactional_id: str | None
    versions: dict[str, int] = field(default_factory=lambda: dict(TV2))
    timeout_ms: int = 60_000
    patient: bool = True
    producer_id: int = -1
    producer_epoch: int = -1
    sequences: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def owner(self) -> tuple[int, int]:
        return self.producer_id, self.producer_epoch

    def take(self, producer_id: int, producer_epoch: int) -> None:
        """Go on with this id and epoch; sequences begin anew with each epoch."""
        if (producer_id, producer_epoch) != self.owner:
            self.sequences.clear()
        self.producer_id, self.producer_epoch = producer_id, producer_epoch

    def init(self, *, named: bool = False, version: int = 5) -> str:
        """InitProducerId; ``named`` with its own id and epoch (KIP-360)."""
        answer = self._patiently(
            lambda: self.client.ask(
                "init_producer_id",
                version,
                transactional_id=self.transactional_id,
                transaction_timeout=timedelta(milliseconds=self.timeout_ms),
                producer_id=self.producer_id if named else -1,
                producer_epoch=self.producer_epoch if named else -1,
            ),
            lambda answer: answer.error_code.name,
        )
        if answer.error_code.name == "none":
            self.take(answer.producer_id, answer.producer_epoch)
        return str(answer.error_code.name)

    def produce(
        self,
        topic: str,
        value: bytes = b"x",
        *,
        partition: int = 0,
        sequence: int | None = None,
        transactional: bool = True,
        version: int | None = None,
    ) -> tuple[str, int]:
        """One record: the error and the base offset."""
        version = self.versions["produce"] if version is None else version
        place = (topic, partition)
        next_sequence = self.sequences.get(place, 0) if sequence is None else sequence
        batch = encode_batch(
            [(None, value)],
            BatchSpec(
                producer_id=self.producer_id,
                producer_epoch=self.producer_epoch,
                base_sequence=next_sequence,
                transactional=transactional,
                timestamp_ms=self.client.now_ms(),
            ),
        )
        answer = self._patiently(
            lambda: self.client.ask(
                "produce",
                version,
                transactional_id=self.transactional_id if transactional else None,
                acks=-1,
                timeout=timedelta(seconds=30),
                topic_data=(
                    nested(
                        "produce",
                        version,
                        "TopicProduceData",
                        name=topic,
                        partition_data=(
                            nested("produce", version, "PartitionProduceData", index=partition, records=batch),
                        ),
                    ),
                ),
            ),
            lambda answer: answer.responses[0].partition_responses[0].error_code.name,
        )
        row = answer.responses[0].partition_responses[0]
        if row.error_code.name == "none":
            self.sequences[place] = next_sequence + 1
        return str(row.error_code.name), int(row.base_offset)

    def add_partitions(self, topic: str, *partitions: int, version: int = 3) -> list[str]:
        """AddPartitionsToTxn as clients send it."""
        answer = self._patiently(
            lambda: self.client.ask(
                "add_partitions_to_txn",
                version,
                v3_and_below_transactional_id=self.transactional_id,
                v3_and_below_producer_id=self.producer_id,
                v3_and_below_producer_epoch=self.producer_epoch,
                v3_and_below_topics=(
                    nested("add_partitions_to_txn", 3, "AddPartitionsToTxnTopic", name=topic, partitions=partitions),
                ),
            ),
            lambda answer: answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code.name,
        )
        (found,) = answer.results_by_topic_v3_and_below
        return [row.partition_error_code.name for row in found.results_by_partition]

    def add_offsets(self, group: str) -> str:
        answer = self._patiently(
            lambda: self.client.ask("add_offsets_to_txn", 4, group_id=group, **self._named()),
            lambda answer: answer.error_code.name,
        )
        return str(answer.error_code.name)

    def commit_offset(self, group: str, topic: str, offset: int, **fields: Any) -> str:
        """TxnOffsetCommit of one offset, by default as who is no member."""
        version = fields.pop("version", self.versions["txn_offset_commit"])
        row = nested(
            "txn_offset_commit",
            version,
            "TxnOffsetCommitRequestPartition",
            partition_index=0,
            committed_offset=offset,
            committed_leader_epoch=-1,
            committed_metadata="",
        )
        topics = (nested("txn_offset_commit", version, "TxnOffsetCommitRequestTopic", name=topic, partitions=(row,)),)
        answer = self._patiently(
            lambda: self.client.ask(
                "txn_offset_commit", version, group_id=group, topics=topics, **self._named(), **fields
            ),
            lambda answer: answer.topics[0].partitions[0].error_code.name,
        )
        return str(answer.topics[0].partitions[0].error_code.name)

    def end(self, *, commit: bool, version: int | None = None, follow: bool = True) -> str:
        """EndTxn; with ``follow`` the id and epoch that version 5 answers are taken."""
        version = self.versions["end_txn"] if version is None else version
        answer = self._patiently(
            lambda: self.client.ask("end_txn", version, committed=commit, **self._named()),
            lambda answer: answer.error_code.name,
        )
        if answer.error_code.name == "none" and version >= 5 and follow:
            self.take(answer.producer_id, answer.producer_epoch)
        return str(answer.error_code.name)

    def _named(self) -> dict[str, Any]:
        return {
            "transactional_id": self.transactional_id,
            "producer_id": self.producer_id,
            "producer_epoch": self.producer_epoch,
        }

    def _patiently(self, ask: Callable[[], Any], error_of: Callable[[Any], str]) -> Any:
        return _patiently(ask, error_of) if self.patient else ask()


def _patiently(ask: Callable[[], Any], error_of: Callable[[Any], str]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while True:
        answer = ask()
        if error_of(answer) not in _PASSING or time.monotonic() > deadline:
            return answer
        time.sleep(0.02)


def find_coordinator(client: Asks, key: str, *, key_type: int) -> None:
    """Have the coordinator made and loaded: until then Apache Kafka answers NOT_COORDINATOR."""
    deadline = time.monotonic() + WAIT_S
    while True:
        answer = client.ask("find_coordinator", 3, key=key, key_type=key_type)
        if answer.error_code.name == "none":
            return
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)


def log_of(client: Asks, topic: str, *, partition: int = 0) -> list[tuple[str, int, int, bytes | None]]:
    """The partition from its start: (``data``, ``commit`` or ``abort``; producer id; epoch; value of a record)."""
    place = nested(
        "fetch",
        11,
        "FetchPartition",
        partition=partition,
        fetch_offset=0,
        partition_max_bytes=1 << 20,
        log_start_offset=-1,
    )
    answer = _patiently(
        lambda: client.ask(
            "fetch",
            11,
            max_wait=timedelta(0),
            min_bytes=0,
            max_bytes=1 << 20,
            isolation_level=0,
            session_epoch=-1,
            forgotten_topics_data=(),
            topics=(nested("fetch", 11, "FetchTopic", topic=topic, partitions=(place,)),),
        ),
        lambda answer: answer.responses[0].partitions[0].error_code.name,
    )
    (row,) = answer.responses[0].partitions
    assert row.error_code.name == "none", row.error_code
    found: list[tuple[str, int, int, bytes | None]] = []
    for header, batch in iterate_batches(bytes(row.records or b"")):
        if header.is_control:
            kind = "commit" if read_marker(batch).commit else "abort"
            found.append((kind, header.producer_id, header.producer_epoch, None))
        else:
            found.extend(
                ("data", header.producer_id, header.producer_epoch, record.value) for record in decode_batch(batch)[1]
            )
    return found
