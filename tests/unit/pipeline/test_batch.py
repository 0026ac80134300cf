"""Messages as records: ids, positions, and headers that are no ids."""

from __future__ import annotations

from tests.unit.pipeline.messages import Message

from tallystick.ids import EVENT_ID_HEADER, deterministic_id, position_id
from tallystick.pipeline.batch import EventIds

IDS = EventIds("cluster", {"t": "topic-id"})
GIVEN = deterministic_id("test", "given")


def test_the_id_in_the_header_comes_first_else_the_position() -> None:
    batch = IDS.batch([Message(3, [("other", b"x"), (EVENT_ID_HEADER, GIVEN.encode())]), Message(4)])
    assert batch.records[0].event_id == GIVEN
    assert batch.records[1].event_id == position_id(cluster_id="cluster", topic_id="topic-id", partition=0, offset=4)
    assert batch.records[0].timestamp_ms == 1234


def test_a_header_that_is_no_id_rejects_its_record_only() -> None:
    batch = IDS.batch([Message(1), Message(2, [(EVENT_ID_HEADER, b"nonsense")]), Message(3)])
    assert list(batch.rejected) == [1]
    assert "nonsense" in str(batch.rejected[1])


def test_positions_are_the_last_processed_offset_plus_one_whatever_gaps_there_are() -> None:
    batch = IDS.batch([Message(1), Message(7), Message(2, number=1)])
    assert batch.positions == {("t", 0): 8, ("t", 1): 3}
