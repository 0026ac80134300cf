"""One finding: where, what, which rule, and what to do.

Owns: the value. Must not know: who found it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Weight(Enum):
    """How bad it is."""

    BREACH = "breach"
    """Under these settings, or in this state, exactly-once does not hold."""

    RISK = "risk"
    """It holds until something rare happens, or somebody who does not know it changes something."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``rule`` is a number of docs/rules.md, None for what has none."""

    weight: Weight
    where: str
    what: str
    remedy: str
    rule: int | None = None


def breach(rule: int | None, where: str, what: str, remedy: str) -> Finding:
    """Exactly-once does not hold."""
    return Finding(Weight.BREACH, where, what, remedy, rule)


def risk(rule: int | None, where: str, what: str, remedy: str) -> Finding:
    """It holds, until it does not."""
    return Finding(Weight.RISK, where, what, remedy, rule)
