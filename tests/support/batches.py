"""Record batches made by hand, byte by byte where need be: what no producer would send."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from crc32c import crc32c
from tests.support.clients import WAIT_S
from tests.support.wire import WireClient, nested

from tallystick.wire.batch import CRC_FROM, HEADER_BYTES, BatchHeader
from tallystick.wire.compression import CODECS, compress
from tallystick.wire.records import write_varint

PRODUCE_VERSION: Final = 12
"""The newest that names topics by their name."""
_NO_LEADER_YET: Final = {"not_leader_or_follower", "unknown_topic_or_partition"}


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it lies in a batch. ``offset_delta`` None: its place in the batch."""

    value: bytes | None = b"v"
    key: bytes | None = None
    timestamp_delta_ms: int = 0
    offset_delta: int | None = None
    headers: Sequence[tuple[bytes, bytes | None]] = ()

    def encode(self, place: int) -> bytes:
        delta = place if self.offset_delta is None else self.offset_delta
        body = b"\x00" + write_varint(self.timestamp_delta_ms) + write_varint(delta)
        body += _field(self.key) + _field(self.value) + write_varint(len(self.headers))
        for name, value in self.headers:
            body += _field(name) + _field(value)
        return write_varint(len(body)) + body


def _field(value: bytes | None) -> bytes:
    return write_varint(-1) if value is None else write_varint(len(value)) + value


def hand_made(
    records: Sequence[Record] = (Record(),), *, compression: str = "none", body: bytes | None = None, **fields: int
) -> bytes:
    """A batch of these records. ``fields`` are those of the header that are to be other than right.

    ``body`` replaces the encoded records, after compression. Length and CRC are right, unless ``fields`` has them.
    """
    now_ms = int(time.time() * 1000)
    base_timestamp_ms = fields.get("base_timestamp_ms", now_ms)
    encoded = b"".join(record.encode(place) for place, record in enumerate(records))
    content = compress(CODECS[compression], encoded) if body is None else body
    right = {
        "base_offset": 0,
        "batch_length": HEADER_BYTES - 12 + len(content),
        "partition_leader_epoch": -1,
        "magic": 2,
        "crc": 0,
        "attributes": CODECS[compression],
        "last_offset_delta": len(records) - 1,
        "base_timestamp_ms": base_timestamp_ms,
        "max_timestamp_ms": base_timestamp_ms + max((record.timestamp_delta_ms for record in records), default=0),
        "producer_id": -1,
        "producer_epoch": -1,
        "base_sequence": -1,
        "record_count": len(records),
    }
    header = BatchHeader(**(right | fields))
    raw = bytearray(struct.pack(">qiibIhiqqqhii", *header) + content)
    if "crc" not in fields:
        struct.pack_into(">I", raw, 17, crc32c(bytes(raw[CRC_FROM:])))
    return bytes(raw)


def produce_raw(client: WireClient, topic: str, records: bytes | None, *, version: int = PRODUCE_VERSION) -> Any:
    """Send these bytes to partition 0 of a topic, and return the row of the answer.

    A topic that was just made has no leader for a moment in Apache Kafka: it is asked again then.
    """
    partition = nested("produce", version, "PartitionProduceData", index=0, records=records)
    deadline = time.monotonic() + WAIT_S
    while True:
        answer = client.ask(
            "produce",
            version,
            transactional_id=None,
            acks=-1,
            timeout=timedelta(seconds=30),
            topic_data=(nested("produce", version, "TopicProduceData", name=topic, partition_data=(partition,)),),
        )
        row = answer.responses[0].partition_responses[0]
        if row.error_code.name not in _NO_LEADER_YET or time.monotonic() > deadline:
            return row
        time.sleep(0.02)


def fetch_raw(client: WireClient, topic: str, *, offset: int = 0, isolation_level: int = 0) -> Any:
    """Fetch from partition 0 of a topic, and return the row of the answer."""
    place = nested(
        "fetch",
        11,
        "FetchPartition",
        partition=0,
        fetch_offset=offset,
        partition_max_bytes=1 << 24,
        log_start_offset=-1,
        current_leader_epoch=-1,
    )
    answer = client.ask(
        "fetch",
        11,
        max_wait=timedelta(0),
        min_bytes=0,
        max_bytes=1 << 24,
        isolation_level=isolation_level,
        session_epoch=-1,
        forgotten_topics_data=(),
        topics=(nested("fetch", 11, "FetchTopic", topic=topic, partitions=(place,)),),
    )
    return answer.responses[0].partitions[0]
