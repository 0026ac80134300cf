"""The effect ledger: every effect outside SQL and Kafka has a committed row before its first byte leaves.

One module for each noun: ``attempt`` (a row as a value), ``intents`` (asking for an effect), ``leases`` (claiming and
sending), ``outcomes`` (recording what came of it), ``notices`` (what a webhook or a settlement tells), ``suspense``
(successes that must not exist), ``rulings`` (what a person decides), ``register`` (reading). ``ledger`` joins them.
"""

from __future__ import annotations

from tallystick.boundary.effect_ledger.attempt import (
    Attempt,
    IntentConflict,
    OnOutcome,
    ProviderMismatch,
    Recorded,
)
from tallystick.boundary.effect_ledger.ledger import EffectLedger
from tallystick.boundary.effect_ledger.notices import Notice, Told

__all__ = [
    "Attempt",
    "EffectLedger",
    "IntentConflict",
    "Notice",
    "OnOutcome",
    "ProviderMismatch",
    "Recorded",
    "Told",
]
