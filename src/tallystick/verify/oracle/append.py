"""Transactional anomalies by the list-append method of Elle (Kingsbury and Alvaro, VLDB 2020).

Every value is appended once, so that a read of a whole list tells the order of its writes. A partition is a list, a
record is an append, and a committed reader's view from the beginning is a read. Of Adya's anomalies those are looked
for that Kafka's transactions rule out: aborted reads (G1a), reads that two orders cannot both be true for, and lost
appends. Write cycles (G0) are not: Kafka orders records within a partition only, so two transactions may lie in one
order here and in the other there.
Owns: the values and the checks. Must not know: where the reads come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tallystick.verify.oracle.findings import Finding


@dataclass(frozen=True, slots=True)
class Append:
    """One transaction's appends, list and value. ``committed`` False: it is known to be aborted."""

    transaction: str
    values: tuple[tuple[str, str], ...]
    committed: bool = True


@dataclass(frozen=True, slots=True)
class Read:
    """A whole list, as a reader saw it; reads stand in the order of their time."""

    of: str
    values: tuple[str, ...]


def check_append(appends: Sequence[Append], reads: Sequence[Read]) -> tuple[Finding, ...]:
    """Aborted reads, incompatible orders, duplicates within a read, and values of the last read that are gone."""
    return (
        Finding.of("g1a", _aborted_reads(appends, reads)),
        Finding.of("incompatible-order", _incompatible(reads)),
        Finding.of("duplicate-append", _duplicates(reads)),
        Finding.of("garbage-read", _garbage(appends, reads)),
    )


def _aborted_reads(appends: Sequence[Append], reads: Sequence[Read]) -> Iterator[str]:
    aborted = {value: one.transaction for one in appends if not one.committed for value in one.values}
    for number, read in enumerate(reads):
        for value in read.values:
            if (read.of, value) in aborted:
                yield f"read {number} of {read.of} has {value} of the aborted {aborted[read.of, value]}"


def _incompatible(reads: Sequence[Read]) -> Iterator[str]:
    """Of two reads of one list the earlier is a prefix of the later: a log only grows."""
    latest: dict[str, tuple[int, tuple[str, ...]]] = {}
    for number, read in enumerate(reads):
        before = latest.get(read.of)
        if before is not None and read.values[: len(before[1])] != before[1]:
            at = next(
                (at for at, (one, other) in enumerate(zip(before[1], read.values, strict=False)) if one != other),
                len(read.values),
            )
            yield f"reads {before[0]} and {number} of {read.of} disagree at place {at}"
        latest[read.of] = (number, read.values)


def _duplicates(reads: Sequence[Read]) -> Iterator[str]:
    told = set()
    for number, read in enumerate(reads):
        seen = set()
        for value in read.values:
            if value in seen and (read.of, value) not in told:
                told.add((read.of, value))
                yield f"read {number} of {read.of} has {value} twice"
            seen.add(value)


def _garbage(appends: Sequence[Append], reads: Sequence[Read]) -> Iterator[str]:
    written = {value for one in appends for value in one.values}
    told = set()
    for number, read in enumerate(reads):
        for value in read.values:
            if (read.of, value) not in written and (read.of, value) not in told:
                told.add((read.of, value))
                yield f"read {number} of {read.of} has {value}, which nobody appended there"
