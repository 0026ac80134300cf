"""Fetch sessions (KIP-227): what a client wants to read, so that it need not name it again, and what it was told.

Owns: the sessions, how many there may be, which one gives way to a new one, and what of an answer is news. Must not
know: the protocol's encoding, logs, who waits. Time and ids are arguments.

A topic is named here as the client names it: by id or, before version 13, by name.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, Protocol

from tallystick.wire.errors import ApiError, ErrorCode

NO_SESSION: Final = 0
"""The session id of a fetch without one."""
INITIAL_EPOCH: Final = 0
"""Asks for a new session."""
FINAL_EPOCH: Final = -1
"""Asks for none; the one that is named ends."""
_LAST_EPOCH: Final = 2**31 - 1

MAX_PARTITIONS: Final = 200_000
"""Of all sessions together; Apache Kafka has no such bound. One takes about 400 bytes."""
MIN_AGE_MS: Final = 120_000
"""A session gives way to another only when it was not used for so long, or is so old and smaller than that."""
_LOOK_AGAIN_MS: Final = 1_000

TopicKey = uuid.UUID | str


class Wanted(Protocol):
    """What a client wants of one partition: the request's row."""

    @property
    def partition(self) -> int: ...


class Told(Protocol):
    """What a client is told of one partition: the response's row."""

    @property
    def error_code(self) -> ErrorCode: ...
    @property
    def high_watermark(self) -> int: ...
    @property
    def log_start_offset(self) -> int: ...
    @property
    def records(self) -> object: ...


@dataclass(slots=True)
class _Held:
    wanted: Wanted
    high_watermark: int = -1
    log_start_offset: int = -1


@dataclass(slots=True)
class FetchSession:
    """One client's. ``epoch`` is that of its next request."""

    session_id: int
    owner: Hashable
    by_id: bool
    created_ms: int
    used_ms: int
    epoch: int = 1
    _held: dict[tuple[TopicKey, int], _Held] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._held)

    def topics(self) -> Iterator[tuple[TopicKey, list[Wanted]]]:
        """What is wanted, in the order in which it is to be read."""
        for topic, rows in groupby(self._held.items(), key=lambda row: row[0][0]):
            yield topic, [held.wanted for _, held in rows]

    def want(self, topics: Iterable[tuple[TopicKey, Sequence[Wanted]]]) -> None:
        """Add what is new, and change what was there."""
        for topic, rows in topics:
            for wanted in rows:
                held = self._held.get((topic, wanted.partition))
                if held is None:
                    self._held[topic, wanted.partition] = _Held(wanted)
                else:
                    held.wanted = wanted

    def forget(self, topics: Iterable[tuple[TopicKey, Sequence[int]]]) -> None:
        """Take out what is wanted no more."""
        for topic, indexes in topics:
            for index in indexes:
                self._held.pop((topic, index), None)

    def is_news(self, topic: TopicKey, index: int, told: Told) -> bool:
        """Whether the client has to be told this; it counts as told afterwards.

        A partition that has data comes last in the next round, so that one full of it does not starve the others.
        """
        held = self._held.get((topic, index))
        if held is None:
            return True
        failed = told.error_code is not ErrorCode.none
        news = (
            bool(told.records)
            or failed
            or told.high_watermark != held.high_watermark
            or told.log_start_offset != held.log_start_offset
        )
        held.high_watermark = -1 if failed else told.high_watermark
        held.log_start_offset = told.log_start_offset
        if told.records:
            self._held[topic, index] = self._held.pop((topic, index))
        return news


class FetchSessions:
    """All sessions of the node, at most ``slots``. ``new_id`` gives numbers from 1 to 2^31-1."""

    def __init__(self, slots: int, new_id: Callable[[], int]) -> None:
        self._slots = slots
        self._new_id = new_id
        self._by_id: OrderedDict[int, FetchSession] = OrderedDict()  # the one that was used last is the last
        self._partitions = 0
        self._look_again_ms = 0

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def partition_count(self) -> int:
        """Of all sessions."""
        return self._partitions

    def open(
        self, topics: Sequence[tuple[TopicKey, Sequence[Wanted]]], *, owner: Hashable, by_id: bool, now_ms: int
    ) -> FetchSession | None:
        """A new session, None if there is no room for it."""
        size = sum(len(rows) for _, rows in topics)
        if size == 0 or self._slots == 0 or not self._has_room(size, now_ms):
            return None
        session_id = self._new_id()
        while session_id in self._by_id:
            session_id = self._new_id()
        session = FetchSession(session_id, owner, by_id, created_ms=now_ms, used_ms=now_ms)
        session.want(topics)
        self._by_id[session_id] = session
        self._partitions += len(session)
        return session

    def _has_room(self, size: int, now_ms: int) -> bool:
        while len(self._by_id) >= self._slots or self._partitions + size > MAX_PARTITIONS:
            gives_way = self._that_gives_way(size, now_ms)
            if gives_way is None:
                return False
            self._drop(gives_way)
        return True

    def _that_gives_way(self, size: int, now_ms: int) -> FetchSession | None:
        if not self._by_id:
            return None
        oldest = next(iter(self._by_id.values()))
        if now_ms - oldest.used_ms > MIN_AGE_MS:
            return oldest
        if now_ms < self._look_again_ms:
            return None
        smaller = [one for one in self._by_id.values() if now_ms - one.created_ms > MIN_AGE_MS and len(one) < size]
        if not smaller:
            self._look_again_ms = now_ms + _LOOK_AGAIN_MS  # clients that get none ask with every fetch
        return min(smaller, key=len, default=None)

    def resume(
        self,
        session_id: int,
        epoch: int,
        *,
        wanted: Iterable[tuple[TopicKey, Sequence[Wanted]]],
        forgotten: Iterable[tuple[TopicKey, Sequence[int]]],
        owner: Hashable,
        by_id: bool,
        now_ms: int,
    ) -> FetchSession | None:
        """The session after the changes of an incremental request; None if it has become empty, and so has ended.

        ``ApiError`` if there is no such session of this owner, or the request is not its next one.
        """
        session = self._by_id.get(session_id)
        if session is None or session.owner != owner:
            raise ApiError(ErrorCode.fetch_session_id_not_found, f"there is no fetch session {session_id}")
        if session.epoch != epoch:
            raise ApiError(ErrorCode.invalid_fetch_session_epoch, f"epoch {session.epoch} comes next, not {epoch}")
        if session.by_id != by_id:
            raise ApiError(ErrorCode.fetch_session_topic_id_error, "a session names topics in one way")
        before = len(session)
        session.want(wanted)
        session.forget(forgotten)
        self._partitions += len(session) - before
        if self._partitions > MAX_PARTITIONS:
            self._drop(session)
            raise ApiError(ErrorCode.fetch_session_id_not_found, "fetch sessions hold too many partitions")
        if len(session) == 0:
            self._drop(session)
            return None
        session.epoch = 1 if epoch == _LAST_EPOCH else epoch + 1
        session.used_ms = now_ms
        self._by_id.move_to_end(session_id)
        return session

    def close(self, session_id: int, *, owner: Hashable) -> None:
        """End a session, if there is one of this owner."""
        session = self._by_id.get(session_id)
        if session is not None and session.owner == owner:
            self._drop(session)

    def _drop(self, session: FetchSession) -> None:
        del self._by_id[session.session_id]
        self._partitions -= len(session)
