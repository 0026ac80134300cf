"""How many records the next transaction takes, and how long it waits for them: between latency and throughput.

Owns: ``Pace``, a pure controller. Must not know: clocks, consumers, transactions.

A large transaction costs less for each record, and its first record waits longest. With a goal for latency a lane takes
the largest batches that it finishes in time: it doubles them while a full one takes less than half of the goal, halves
them when one takes longer than the goal, and leaves them alone in between, so that it does not swing. It waits for
records for half of the time that its last batch left of the goal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

_FIRST_RECORDS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """``records`` at the most, ``wait_ms`` for them at the most. Without ``goal_ms`` both stay what they are.

    ``goal_ms`` is how long a record may take from the poll that waits for it to the end of its transaction.
    """

    records: int
    wait_ms: int
    most_records: int
    most_wait_ms: int
    goal_ms: int | None = None

    @classmethod
    def begin(cls, *, most_records: int, most_wait_ms: int, goal_ms: int | None) -> Self:
        """Before anything is known of the step."""
        if goal_ms is None:
            return cls(records=most_records, wait_ms=most_wait_ms, most_records=most_records, most_wait_ms=most_wait_ms)
        return cls(
            records=min(_FIRST_RECORDS, most_records),
            wait_ms=_wait_ms(goal_ms, 0, most_wait_ms),
            most_records=most_records,
            most_wait_ms=most_wait_ms,
            goal_ms=goal_ms,
        )

    def after(self, *, records: int, took_ms: int) -> Pace:
        """The pace that follows a batch of so many records, that took so long from its poll to its end."""
        goal_ms = self.goal_ms
        if goal_ms is None:
            return self
        limit = self.records
        if took_ms > goal_ms:
            limit = max(1, min(limit, records) // 2)
        elif records >= limit and 2 * took_ms < goal_ms:  # less than half, or whole milliseconds would make it swing
            limit = min(2 * limit, self.most_records)
        return replace(self, records=limit, wait_ms=_wait_ms(goal_ms, took_ms, self.most_wait_ms))


def _wait_ms(goal_ms: int, took_ms: int, most_ms: int) -> int:
    return max(1, min((goal_ms - took_ms) // 2, most_ms))
