"""What a replay finds: for each output, whether it is as it was.

Owns: ``Verdict``, ``Finding``, ``Counts``, and the comparison of one record's outputs with what stands. Must not know:
where what stands is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from tallystick.ids import EventId, derived_id
from tallystick.pipeline.records import Output, Record
from tallystick.pipeline.replay.corrections import digest

ORDINALS_MAX: Final = 100_000
"""Outputs of one record that are looked for."""


class Verdict(Enum):
    """What became of an output."""

    SAME = "same"
    """It was written, with the same payload: nothing is to be done."""
    CHANGED = "changed"
    """It was written with another payload."""
    NEW = "new"
    """Nothing was written under its id."""
    GONE = "gone"
    """It was written, and is not made any more."""
    FAILED = "failed"
    """The record could not be processed: nothing is known about its outputs."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands under an original's id: the newest of its corrections, or itself."""

    digest: bytes
    revision: int
    replay: str | None
    topic: str
    partition: int
    offset: int

    @property
    def place(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One output, or one record that failed. ``output`` is what is made now, ``standing`` what was written."""

    verdict: Verdict
    record: Record
    event_id: EventId
    output: Output | None = None
    standing: Standing | None = None
    cause: str = ""

    @property
    def source(self) -> str:
        return f"{self.record.topic}-{self.record.partition}@{self.record.offset}"

    @property
    def topic(self) -> str:
        """Of the output; of a record that failed, its own."""
        if self.output is not None:
            return self.output.topic
        return self.record.topic if self.standing is None else self.standing.topic


@dataclass(slots=True)
class Counts:
    """How many of each, by topic."""

    by_topic: dict[str, Counter[Verdict]] = field(default_factory=dict)
    records: int = 0

    def add(self, finding: Finding) -> None:
        self.by_topic.setdefault(finding.topic, Counter())[finding.verdict] += 1

    def __getitem__(self, verdict: Verdict) -> int:
        return sum(counted[verdict] for counted in self.by_topic.values())


def compare(
    record: Record, outputs: Sequence[Output], step: str, standing: Callable[[EventId], Standing | None]
) -> Iterator[Finding]:
    """The findings about one record: first each of its outputs, in order, then those that are not made any more."""
    for output in outputs:
        found = standing(output.event_id)
        if found is None:
            verdict = Verdict.NEW
        elif found.digest == digest(output.topic, output.key, output.value, output.headers):
            verdict = Verdict.SAME
        else:
            verdict = Verdict.CHANGED
        yield Finding(verdict, record, output.event_id, output, found)
    made = {output.event_id for output in outputs}
    for ordinal in range(ORDINALS_MAX):
        event_id = derived_id(record.event_id, step, ordinal)
        if event_id in made:
            continue
        found = standing(event_id)
        if found is not None:
            yield Finding(Verdict.GONE, record, event_id, None, found)
        elif ordinal >= len(outputs):
            return
