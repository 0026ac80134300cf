"""Where partitions start, and when a missing offset is an alarm (rule 10)."""

from __future__ import annotations

import pytest

from tallystick.errors import ConfigurationError
from tallystick.pipeline.starts import OffsetNote, Starts, StoredOffset, TopicFacts, lanes_so_far, read_note, resolve

FACTS = TopicFacts("topic-id", 4)


def committed(offset: int, claim: int = 0, topic_id: str = "topic-id") -> StoredOffset:
    return StoredOffset(offset, OffsetNote(topic_id, claim).encode())


def starts(stored: dict[int, StoredOffset], owned: list[int], facts: TopicFacts = FACTS) -> Starts:
    return resolve("t", facts, stored, owned, group="g")


def test_a_group_that_never_committed_starts_all_its_partitions() -> None:
    found = starts({}, [0, 1, 2, 3])
    assert found.missing == (0, 1, 2, 3)
    assert found.note == OffsetNote("topic-id", 0)


def test_a_member_that_comes_second_is_not_accused_by_the_firsts_commit() -> None:
    first = starts({}, [0, 1])
    stored = {0: StoredOffset(0, first.note.encode()), 1: StoredOffset(0, first.note.encode())}
    assert starts(stored, [2, 3]).missing == (2, 3)


def test_all_partitions_are_claimed_once_all_were_seen_committed() -> None:
    assert starts({number: committed(5) for number in range(4)}, [0]).note.partitions == 4
    assert starts({0: committed(5), 1: committed(5), 3: committed(5)}, [0]).note.partitions == 2


def test_a_claimed_partition_without_an_offset_stops_the_application() -> None:
    stored = {0: committed(5, 4), 1: StoredOffset(None), 2: committed(5, 4), 3: committed(5, 4)}
    with pytest.raises(ConfigurationError, match=r"\[1\]") as stop:
        starts(stored, [1, 2])
    assert stop.value.rule == 10
    assert stop.value.remedy


def test_a_lost_offset_is_its_owners_alarm_only() -> None:
    stored = {0: committed(5, 4), 1: StoredOffset(None)}
    assert starts(stored, [0]).missing == ()


def test_a_partition_that_was_added_starts_at_earliest() -> None:
    stored = {number: committed(5, 4) for number in range(4)}
    found = starts(stored, [3, 4, 5], TopicFacts("topic-id", 6))
    assert found.missing == (4, 5)


def test_a_claim_is_never_lowered() -> None:
    assert starts({0: committed(5, 4), 1: committed(5, 0)}, [0]).note.partitions == 4


def test_offsets_of_a_topic_that_was_made_again_stop_the_application() -> None:
    with pytest.raises(ConfigurationError, match="made again") as stop:
        starts({0: committed(5, 4, topic_id="another")}, [0])
    assert stop.value.rule == 10


def test_commits_of_another_program_are_taken_over_without_claims() -> None:
    stored = {0: StoredOffset(7, ""), 1: StoredOffset(7, "something else"), 2: StoredOffset(7, None)}
    found = starts(stored, [0, 1, 2, 3])
    assert found.missing == (3,)
    assert found.note.partitions == 3


def test_the_note_is_a_frozen_format() -> None:
    text = '{"format":"tallystick.1","topic_id":"abc","partitions":3}'
    assert OffsetNote("abc", 3).encode() == text
    assert read_note(text) == OffsetNote("abc", 3)
    assert read_note('{"format":"tallystick.2","topic_id":"abc"}') is None


def test_the_note_of_a_group_without_lanes_is_what_it_always_was() -> None:
    assert OffsetNote("id", 4).encode() == '{"format":"tallystick.1","topic_id":"id","partitions":4}'
    assert OffsetNote("id", 4, 3).encode() == '{"format":"tallystick.1","topic_id":"id","partitions":4,"lanes":3}'
    assert read_note('{"format":"tallystick.1","topic_id":"id","partitions":4}') == OffsetNote("id", 4, 1)


def test_the_number_of_lanes_in_a_note_never_goes_down() -> None:
    stored = {0: StoredOffset(5, OffsetNote("topic-id", 1, 4).encode()), 1: committed(5)}
    assert resolve("t", FACTS, stored, [1], group="g", lanes=2).note.lanes == 4
    assert resolve("t", FACTS, stored, [1], group="g", lanes=6).note.lanes == 6
    assert lanes_so_far([*stored.values(), StoredOffset(None), StoredOffset(3, "somebody else's")]) == 4
    assert lanes_so_far([]) == 1


def test_what_follows_a_note_is_not_of_it() -> None:
    note = OffsetNote("AAAAAAAAAAAAAAAAAAAAAA", 2, 3)
    for behind in ("", "\0", "x", '"}', note.encode()):
        assert read_note(note.encode() + behind) == note
    assert read_note("{") is None
    assert read_note('{"format":"another"}') is None
