"""Control totals: how many, how much, and exactly which.

Owns: ``ControlTotal`` and the digest of an id set. Must not know: what is counted.

Count and sum can agree by chance while one thing is missing and another stands twice; the digest of the ids cannot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from tallystick.ledger.facts import Fact


def id_set_digest(ids: Iterable[str]) -> str:
    """SHA-256 over the distinct ids, sorted, a line feed after each: recomputable with ``sort -u | sha256sum``."""
    digest = hashlib.sha256()
    for one in sorted(set(ids)):
        digest.update(one.encode() + b"\n")
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class ControlTotal:
    """Count, sum by currency in minor units, and digest of the ids, at one stage.

    ``digest`` is empty where the stage has no ids of its own to compare (a direct reading of a file).
    """

    stage: str
    count: int
    sums_minor: tuple[tuple[str, int], ...]
    digest: str

    @classmethod
    def of(cls, stage: str, facts: Iterable[Fact]) -> ControlTotal:
        """The total over ``facts``; an id that occurs twice is counted twice, as it would be paid twice."""
        count = 0
        sums: dict[str, int] = {}
        ids = []
        for fact in facts:
            count += 1
            sums[fact.currency] = sums.get(fact.currency, 0) + fact.amount_minor
            ids.append(fact.id)
        return cls(stage, count, tuple(sorted(sums.items())), id_set_digest(ids))
