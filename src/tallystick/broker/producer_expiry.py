"""Producer ids that a partition may forget: those that idled for ``producer.id.expiration.ms``.

Owns: since when each producer idles, and when to look. Must not know: what a partition remembers of a producer.

Apache Kafka goes by the time stamps in the batches, so that who writes records of the past loses its idempotence at the
next look. Here a producer idles since the first look that found it unchanged: it is forgotten at most one interval
late, never early, and a restart begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from tallystick.broker.producer_state import ProducerEntry, ProducerStates
from tallystick.broker.transactions.settings import TransactionSettings


class IdleProducers:
    """Of one partition."""

    def __init__(self) -> None:
        self._unchanged: dict[int, tuple[ProducerEntry, int]] = {}

    def forget_expired(self, states: ProducerStates, *, now_ms: int, expiration_ms: int) -> int:
        """How many were forgotten; ``now_ms`` is monotonic. An open transaction keeps its producer, however old."""
        unchanged: dict[int, tuple[ProducerEntry, int]] = {}
        expired = []
        for producer_id, entry in states.producers.items():
            if entry.transaction_first_offset is not None:
                continue
            seen, since_ms = self._unchanged.get(producer_id, (entry, now_ms))
            if seen is not entry:
                since_ms = now_ms
            if now_ms - since_ms >= expiration_ms:
                expired.append(producer_id)
            else:
                unchanged[producer_id] = (entry, since_ms)
        self._unchanged = unchanged
        for producer_id in expired:
            states.forget(producer_id)
        return len(expired)


class ForgetsProducers(Protocol):
    """What a partition offers."""

    def expire_producers(self, *, now_ms: int, expiration_ms: int) -> int: ...


class ProducerExpiry:
    """When partitions look. ``settings`` may be changed."""

    def __init__(self, settings: TransactionSettings) -> None:
        self.settings = settings
        self._next_check_ms: int | None = None

    def tick(self, now_ms: int, partitions: Iterable[ForgetsProducers]) -> int:
        """Look, if it is time to; how many were forgotten. ``now_ms`` is monotonic."""
        if self._next_check_ms is not None and now_ms < self._next_check_ms:
            return 0
        self._next_check_ms = now_ms + self.settings.producer_id_expiration_check_interval_ms
        expiration_ms = self.settings.producer_id_expiration_ms
        return sum(each.expire_producers(now_ms=now_ms, expiration_ms=expiration_ms) for each in partitions)
