"""Runs of offsets, one for each partition of a batch, and the SQL that says "in one of them".

Owns: the condition's text, which both databases understand. Must not know: the rest of any statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple

MOST: Final = 64
"""A database tries one after the other for each row: with more of them, a row is looked up by its id sooner."""


class Stretch(NamedTuple):
    topic: str
    partition: int
    first: int
    last: int


def condition(stretches: Sequence[Stretch]) -> tuple[str, list[str | int]]:
    """The text, with ``?`` for each parameter, and the parameters. The text depends on how many there are only."""
    texts, parameters = list[str](), list[str | int]()
    for topic, of_topic in groupby(sorted(stretches), key=attrgetter("topic")):
        parameters.append(topic)
        cases = 0
        for stretch in of_topic:
            parameters += stretch[1:]
            cases += 1
        whens = " WHEN ? THEN record_offset BETWEEN ? AND ?" * cases
        texts.append(f"topic = ? AND CASE partition{whens} END")
    return f"({' OR '.join(texts)})", parameters
