"""What one checker found: a count and the shortest examples.

Owns: ``Finding``. Findings are collected, not raised, so that one run shows everything that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

EXAMPLES_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """``count`` violations of one invariant; ``examples`` are the shortest few, in words."""

    checker: str
    count: int
    examples: tuple[str, ...] = ()

    @classmethod
    def of(cls, checker: str, violations: Iterable[str]) -> Finding:
        texts = list(violations)
        return cls(checker, len(texts), _shortest(texts))

    @property
    def passed(self) -> bool:
        return self.count == 0

    def plus(self, other: Finding) -> Finding:
        """Of two parts of one history, what was found in both together."""
        return Finding(self.checker, self.count + other.count, _shortest([*self.examples, *other.examples]))


def _shortest(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(texts, key=lambda text: (len(text), text))[:EXAMPLES_MAX])
