"""What a transactional id must do, written a second time and as shortly as possible: no states, no journal, no markers.

Owns: the expected answer of every request, and what readers see afterwards. It shares no code with the broker; a test
runs both and compares.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

LAST_EPOCH: Final = 32_766
"""The highest epoch that a producer may have."""

Identity = tuple[int, int]
"""Producer id and epoch."""


@dataclass
class Transaction:
    """An open one: what it wrote, and when it times out."""

    began_ms: int
    timeout_ms: int
    records: list[tuple[int, bytes]] = field(default_factory=list)
    offset: int | None = None


@dataclass
class TransactionalId:
    """One transactional id and what became visible under it.

    ``known`` is who the present producer was before, ``ended`` how its last transaction did: together they are what a
    retry of EndTxn is known by. ``strict``: only if the epoch was made for that producer, and a zombie ends nothing by
    naming itself. Apache Kafka is not strict.
    """

    strict: bool = True
    now_ms: int = 0
    timeout_ms: int = 60_000
    me: Identity | None = None
    known: Identity | None = None
    ended: str | None = None
    open: Transaction | None = None
    visible: list[tuple[int, bytes]] = field(default_factory=list)
    committed_offset: int = -1

    # --- requests: the expected answer --------------------------------------------------------------------------------

    def init(self, named: Identity | None, fresh: int) -> str:
        """InitProducerId; afterwards the answer is ``me``. ``fresh``: the id that is given out if one is needed."""
        if self.me is None:
            self.me = (fresh, 0)
            return "none"
        if self.open is not None:
            if named not in (None, self.me):
                if self.strict:
                    return "producer_fenced"
                # Apache Kafka looks at the epoch only after it has aborted the successor's transaction.
                self.fence(known=self.me, fresh=fresh)
                return "producer_fenced"
            self.fence(known=named, fresh=fresh)
        if named is not None and named == self.known:
            self.ended = None
            return "none"
        if named not in (None, self.me):
            return "producer_fenced"
        self._raise(known=named, fresh=fresh)
        self.ended = None
        return "none"

    def write(self, who: Identity, partition: int, value: bytes) -> str:
        """A record into the transaction, which begins with it."""
        return self._join(who, fenced="invalid_producer_epoch", record=(partition, value))

    def offset(self, who: Identity, offset: int) -> str:
        return self._join(who, fenced="invalid_producer_epoch", offset=offset)

    def _join(
        self, who: Identity, *, fenced: str, record: tuple[int, bytes] | None = None, offset: int | None = None
    ) -> str:
        refusal = self._refusal(who, fenced)
        if refusal is not None:
            return refusal
        if self.open is None:
            self.open = Transaction(self.now_ms, self.timeout_ms)
            self.ended = None
        if record is not None:
            self.open.records.append(record)
        if offset is not None:
            self.open.offset = offset
        return "none"

    def end(self, who: Identity, *, commit: bool, version: int, fresh: int) -> str:
        """EndTxn in transaction version 1 or 2."""
        wanted = "commit" if commit else "abort"
        if version == 2 and self._is_retry(who):
            return "none" if self.ended == wanted else "invalid_txn_state"
        refusal = self._refusal(who, "producer_fenced")
        if refusal is not None:
            return refusal
        if self.open is None:
            if version == 1:
                return "none" if self.ended == wanted else "invalid_txn_state"
            if commit:
                return "invalid_txn_state"
        self._settle(wanted)
        if version == 2:
            self._raise(known=who, fresh=fresh)
        return "none"

    def _is_retry(self, who: Identity) -> bool:
        if self.open is not None or self.ended is None or who == self.me:
            return False
        if self.strict:
            return who == self.known
        assert self.me is not None
        return who in {self.known, (self.me[0], self.me[1] - 1)}

    def _refusal(self, who: Identity, fenced: str) -> str | None:
        assert self.me is not None
        if who[0] != self.me[0]:
            return "invalid_producer_id_mapping"
        return None if who == self.me else fenced

    # --- what happens by itself ---------------------------------------------------------------------------------------

    def time_passes(self, by_ms: int, fresh: int) -> None:
        self.now_ms += by_ms
        if self.open is not None and self.now_ms >= self.open.began_ms + self.open.timeout_ms:
            self.fence(known=self.me, fresh=fresh)

    def fence(self, *, known: Identity | None, fresh: int) -> None:
        """The open transaction is aborted and its producer is out, unless it is known."""
        self._settle("abort")
        self._raise(known=known, fresh=fresh)

    def _settle(self, how: str) -> None:
        if self.open is not None and how == "commit":
            self.visible += self.open.records
            if self.open.offset is not None:
                self.committed_offset = self.open.offset
        self.open = None
        self.ended = how
        if self.me is not None and self.known is not None and self.known[0] != self.me[0]:
            self.known = None  # a replaced producer id is known until the first transaction of the new one

    def _raise(self, *, known: Identity | None, fresh: int) -> None:
        assert self.me is not None
        producer_id, epoch = self.me
        self.known = known
        self.me = (fresh, 0) if epoch >= LAST_EPOCH else (producer_id, epoch + 1)
