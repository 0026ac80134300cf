"""What a reconciliation finds: matches, breaks, exclusions, controls.

Owns: those values. Must not know: how they are found (``engine``, ``controls``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from tallystick.ids import EventId, deterministic_id

RULES_VERSION: Final = "1"
"""Changed with every change of a rule: two runs differ because the records do, or because this does."""

SCOPE: Final = "payments"


class BreakType(Enum):
    """Why two sides do not agree. The value is what the certificate holds."""

    MISSING_INTERNAL = "missing internal"
    """The provider settled a charge that our books do not have."""
    MISSING_EXTERNAL = "missing external"
    """Our books have a capture that the settlement does not."""
    AMOUNT = "amount"
    CURRENCY = "currency"
    FEE = "fee"
    """The fee differs from the one we booked, or gross less fee is not net."""
    STATUS = "status"
    """The provider settled a charge that our books call declined, open or unknown."""
    DUPLICATE = "duplicate"
    """More than one movement, or more than one charge, for one thing."""


@dataclass(frozen=True, slots=True)
class Match:
    """One internal and one external record that agree, by which rule, on what evidence."""

    rule: str
    internal: str
    external: str
    amount_minor: int
    currency: str

    @property
    def id(self) -> EventId:
        return deterministic_id("recon_match", SCOPE, self.rule, self.internal, self.external)


@dataclass(frozen=True, slots=True)
class Break:
    """A disagreement. ``members`` are ids of records on either side; ``value_minor`` is what is at stake.

    ``detail`` says both sides' figures in words.
    """

    type: BreakType
    members: tuple[str, ...]
    value_minor: int
    currency: str
    detail: str

    @property
    def id(self) -> EventId:
        """From scope, type and members: the same break of the next run has the same id, and so its history."""
        return deterministic_id("recon_break", SCOPE, self.type.value, *sorted(self.members))


@dataclass(frozen=True, slots=True)
class Exclusion:
    """An external line that is not matched on purpose, with the reason."""

    external: str
    reason: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Matching:
    """The result of one run of the engine, each part sorted by id: the same records give the same bytes."""

    matches: tuple[Match, ...]
    breaks: tuple[Break, ...]
    exclusions: tuple[Exclusion, ...]


@dataclass(frozen=True, slots=True)
class Control:
    """One comparison that must hold, with both figures as text."""

    name: str
    expected: str
    actual: str

    @property
    def holds(self) -> bool:
        return self.expected == self.actual
