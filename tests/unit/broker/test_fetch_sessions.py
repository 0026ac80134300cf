"""Fetch sessions (KIP-227) without a broker: who has one, what it holds, what it has been told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

import pytest

from tallystick.broker import fetch_sessions
from tallystick.broker.fetch_sessions import MIN_AGE_MS, FetchSession, FetchSessions
from tallystick.wire.errors import ApiError, ErrorCode


@dataclass(frozen=True)
class Wanted:
    partition: int
    fetch_offset: int = 0


@dataclass(frozen=True)
class Told:
    error_code: ErrorCode = ErrorCode.none
    high_watermark: int = 5
    log_start_offset: int = 0
    records: bytes = b""


def made(slots: int = 10) -> FetchSessions:
    ids = count(1)
    return FetchSessions(slots, lambda: next(ids))


def wants(topic: str, *indexes: int) -> list[tuple[str, list[Wanted]]]:
    return [(topic, [Wanted(index) for index in indexes])]


def opened(
    sessions: FetchSessions, size: int = 1, *, owner: str = "alice", now_ms: int = 0, topic: str = "t"
) -> FetchSession | None:
    return sessions.open(wants(topic, *range(size)), owner=owner, by_id=False, now_ms=now_ms)


def resumed(
    sessions: FetchSessions,
    session_id: int,
    epoch: int,
    *,
    wanted: Iterable[tuple[str, list[Wanted]]] = (),
    forgotten: Iterable[tuple[str, list[int]]] = (),
    owner: str = "alice",
    by_id: bool = False,
    now_ms: int = 0,
) -> FetchSession | None:
    return sessions.resume(
        session_id, epoch, wanted=wanted, forgotten=forgotten, owner=owner, by_id=by_id, now_ms=now_ms
    )


def indexes(session: FetchSession | None) -> list[tuple[str, list[int]]]:
    assert session is not None
    return [(str(topic), [row.partition for row in rows]) for topic, rows in session.topics()]


def test_each_request_of_a_session_bears_the_next_epoch() -> None:
    sessions = made()
    session = opened(sessions)
    assert session is not None
    for epoch in (1, 2, 3):
        assert resumed(sessions, session.session_id, epoch) is session
    with pytest.raises(ApiError) as refused:
        resumed(sessions, session.session_id, 3)
    assert refused.value.code is ErrorCode.invalid_fetch_session_epoch
    assert resumed(sessions, session.session_id, 4) is session, "the refused request changed nothing"


def test_after_the_last_epoch_comes_the_first() -> None:
    sessions = made()
    session = opened(sessions)
    assert session is not None
    session.epoch = 2**31 - 1
    resumed(sessions, session.session_id, 2**31 - 1)
    assert session.epoch == 1


@pytest.mark.parametrize("owner", ["alice", "mallory"])
def test_a_session_is_found_by_its_owner_only(owner: str) -> None:
    sessions = made()
    session = opened(sessions, owner="alice")
    assert session is not None
    sessions.close(session.session_id, owner="mallory")
    assert len(sessions) == 1
    wrong_id = session.session_id + (1 if owner == "alice" else 0)
    with pytest.raises(ApiError) as refused:
        resumed(sessions, wrong_id, 1, owner=owner)
    assert refused.value.code is ErrorCode.fetch_session_id_not_found


def test_a_session_names_topics_by_id_or_by_name_and_never_both() -> None:
    sessions = made()
    session = opened(sessions)
    assert session is not None
    with pytest.raises(ApiError) as refused:
        resumed(sessions, session.session_id, 1, by_id=True)
    assert refused.value.code is ErrorCode.fetch_session_topic_id_error


def test_partitions_are_added_changed_and_forgotten() -> None:
    sessions = made()
    session = opened(sessions, 2)
    assert session is not None
    resumed(sessions, session.session_id, 1, wanted=[("t", [Wanted(1, 7)]), ("u", [Wanted(0)])])
    assert indexes(session) == [("t", [0, 1]), ("u", [0])]
    assert [row for _, rows in session.topics() for row in rows][1] == Wanted(1, 7)
    resumed(sessions, session.session_id, 2, forgotten=[("t", [0]), ("nowhere", [3])])
    assert indexes(session) == [("t", [1]), ("u", [0])]
    assert sessions.partition_count == 2
    assert resumed(sessions, session.session_id, 3, forgotten=[("t", [1]), ("u", [0])]) is None
    assert (len(sessions), sessions.partition_count) == (0, 0)


def test_only_news_is_told() -> None:
    session = opened(made())
    assert session is not None
    assert session.is_news("t", 0, Told())
    assert not session.is_news("t", 0, Told())
    assert session.is_news("t", 0, Told(high_watermark=6))
    assert session.is_news("t", 0, Told(high_watermark=6, log_start_offset=1))
    assert not session.is_news("t", 0, Told(high_watermark=6, log_start_offset=1))
    assert session.is_news("t", 0, Told(high_watermark=6, log_start_offset=1, records=b"x"))
    failed = Told(ErrorCode.not_leader_or_follower, high_watermark=-1, log_start_offset=-1)
    assert session.is_news("t", 0, failed)
    assert session.is_news("t", 0, failed), "an error is told each time"
    assert session.is_news("t", 0, Told(high_watermark=6, log_start_offset=1)), "and its end, too"


def test_a_partition_with_data_comes_last_in_the_next_round() -> None:
    session = opened(made(), 3)
    assert session is not None
    session.is_news("t", 0, Told(records=b"x"))
    session.is_news("t", 1, Told())
    assert indexes(session) == [("t", [1, 2, 0])]


def test_without_a_free_slot_there_is_no_session_until_one_was_idle_for_two_minutes() -> None:
    sessions = made(slots=2)
    first, second = opened(sessions, 5), opened(sessions, 5)
    assert first is not None
    assert second is not None
    resumed(sessions, first.session_id, 1, now_ms=1_000)
    assert opened(sessions, 5, now_ms=MIN_AGE_MS) is None
    third = opened(sessions, 5, now_ms=MIN_AGE_MS + 1)
    assert third is not None
    assert resumed(sessions, first.session_id, 2) is first, "the one that was used meanwhile stays"
    with pytest.raises(ApiError):
        resumed(sessions, second.session_id, 1)


def test_a_larger_one_takes_the_slot_of_the_smallest_that_is_two_minutes_old() -> None:
    sessions = made(slots=2)
    small, smaller = opened(sessions, 3), opened(sessions, 2)
    assert small is not None
    assert smaller is not None
    late = MIN_AGE_MS + 1
    for session in (small, smaller):
        resumed(sessions, session.session_id, 1, now_ms=late)
    assert opened(sessions, 2, now_ms=late) is None
    assert opened(sessions, 4, now_ms=late) is None, "having found none, it looks again a second later"
    assert opened(sessions, 4, now_ms=late + 1_000) is not None
    assert resumed(sessions, small.session_id, 2, now_ms=late + 1_000) is small
    with pytest.raises(ApiError):
        resumed(sessions, smaller.session_id, 2)


@pytest.mark.parametrize(("slots", "size"), [(0, 1), (1, 0)])
def test_there_is_no_session_without_slots_or_of_nothing(slots: int, size: int) -> None:
    assert opened(made(slots), size) is None


def test_the_partitions_of_all_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_sessions, "MAX_PARTITIONS", 10)
    sessions = made()
    session = opened(sessions, 8)
    assert session is not None
    assert opened(sessions, 3) is None
    assert opened(sessions, 2) is not None
    with pytest.raises(ApiError) as refused:
        resumed(sessions, session.session_id, 1, wanted=wants("u", 0))
    assert refused.value.code is ErrorCode.fetch_session_id_not_found
    assert (len(sessions), sessions.partition_count) == (1, 2)


def test_a_partition_that_is_named_twice_counts_once() -> None:
    sessions = made()
    sessions.open([*wants("t", 0, 0), *wants("t", 0)], owner="alice", by_id=False, now_ms=0)
    assert sessions.partition_count == 1
