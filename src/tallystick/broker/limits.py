"""Every bound of the broker that is no setting. Where Apache Kafka has the same bound, ours is its default."""

from __future__ import annotations

from typing import Final

MAX_UNSENT_RESPONSES: Final = 64
"""Responses of one connection that may wait for the disk before the next request of it is read."""
MAX_UNSENT_BYTES: Final = 8 * 1024 * 1024
"""The same in bytes."""

UNCOUNTED_BYTES: Final = 16 * 1024
"""Requests and answers up to this size are not counted towards ``queued.max.request.bytes``."""
LARGE_REQUEST_BYTES: Final = 1_152 * 1024
"""Above this, a request is looked at before it is read."""
MAX_REQUEST_BYTES: Final = 8 * 1024 * 1024
"""Largest request that is not Produce: its rows become objects, which take many times the room."""
OBJECTS_PER_BYTE: Final = 32
"""How many bytes of memory one byte of such a request, with its answer, may become."""
REQUEST_TIMEOUT_S: Final = 30
"""For a whole request to arrive, from its length on, plus its bytes at ``MIN_BYTES_PER_S``."""
SEND_TIMEOUT_S: Final = 30
"""For an answer to be taken, plus its bytes at ``MIN_BYTES_PER_S``."""
MIN_BYTES_PER_S: Final = 64 * 1024
AUTHENTICATION_TIMEOUT_S: Final = 15
"""For the TLS handshake, and again for SASL."""
PRESSED_TIMEOUT_S: Final = 10
"""How long a connection may hold what it is counted for while others wait for room."""
CLOSE_TIMEOUT_S: Final = 5
"""For the last answers to go out when a connection ends."""

MAX_RECORD_ERRORS: Final = 100
"""Rows of ``record_errors`` in the answer to one batch."""

MAX_FETCH_WAIT_MS: Final = 60_000
MAX_FETCHED_BYTES: Final = 16 * 1024 * 1024
"""Of records in one answer, whatever ``fetch.max.bytes`` and the client allow: what is read lies in memory until it is
sent. The first batch is answered whole, however large. The client asks again for the rest, and waits no longer."""
MAX_TOPIC_NAME_LENGTH: Final = 249
MAX_PARTITIONS_PER_TOPIC: Final = 10_000
MAX_LOG_LINES_PER_REQUEST: Final = 10
"""About its rows: the others are answered all the same."""
MAX_PARTITIONS: Final = 200_000
"""Of the node, where the system does not limit open files."""
MAX_PARTITIONS_PER_REQUEST: Final = 10_000
"""New ones, over all topics of a request: to make one takes a third of a millisecond. As in Apache Kafka."""
FILES_FOR_PARTITIONS: Final = 0.75
"""Share of the files that the process may open which partitions take, one each; the rest is for connections, and for
closed segments that are read. Without a bound, a client could make topics until the broker cannot start any more."""
MAX_JOURNAL_RECORD_BYTES: Final = 16 * 1024 * 1024

TICK_MS: Final = 50

DRAIN_TIMEOUT_S: Final = 1.0
"""How long a broker that ends in order waits for requests at work. Most take a millisecond; some wait for others."""
