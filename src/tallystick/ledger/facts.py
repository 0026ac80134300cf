"""What two sides hold against each other: facts with an id and an amount, and payments.

Owns: the values that a reconciliation compares. Must not know: from which topic or table they were read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

CAPTURED: Final = "captured"
DECLINED: Final = "declined"
OPEN: Final = "open"
UNKNOWN: Final = "unknown"
"""It may have happened: the value at risk until it is settled."""


class Fact(NamedTuple):
    """One counted thing: its id, and its amount in minor units of ``currency``."""

    id: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Payment:
    """What our books say about one payment intent.

    ``reference`` is what the provider was told to remember (the intent id); ``provider_object_id`` is the provider's
    own id of the charge, known once it answered. ``fee_minor`` is None until a settlement says it. ``status`` is one
    of ``CAPTURED``, ``DECLINED``, ``OPEN`` and ``UNKNOWN``.
    """

    reference: str
    provider_object_id: str | None
    amount_minor: int
    currency: str
    fee_minor: int | None
    status: str


@dataclass(frozen=True, slots=True)
class Stage:
    """All facts that stand at one place on the way from topic to bank, such as a topic or a table."""

    name: str
    facts: tuple[Fact, ...]


class Hold(Enum):
    """What must be equal between two stages."""

    SET = "the same ids, with the same sum"
    SUM = "the same sum"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two stages, by name, that must agree."""

    left: str
    right: str
    hold: Hold


@dataclass(frozen=True, slots=True)
class Equation:
    """Two figures, minor units or counts, that must be equal."""

    name: str
    expected: int
    actual: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that one side lays open for a reconciliation.

    ``findings`` are violated invariants in words; one is enough to fail. ``counts`` are told, not compared.
    """

    stages: tuple[Stage, ...]
    comparisons: tuple[Comparison, ...]
    equations: tuple[Equation, ...]
    payments: tuple[Payment, ...]
    findings: tuple[str, ...]
    counts: tuple[tuple[str, int], ...]
