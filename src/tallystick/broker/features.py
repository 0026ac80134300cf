"""The cluster's features, as ApiVersions announces them and ``kafka-features.sh`` shows them (KIP-584, KIP-1022).

Owns: the list. Must not know: what a feature does; the code that a level stands for is there or is not.

They are fixed: what a client may use does not change while the broker runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature that the broker knows in these levels, of which one is finalised: clients go by that one."""

    name: str
    min_version: int
    max_version: int
    finalized_version: int


FEATURES: Final = (
    Feature("group.version", 0, 1, 1),  # KIP-848: the consumer group protocol
    Feature("kraft.version", 0, 1, 1),
    Feature("metadata.version", 7, 30, 30),  # the levels of Apache Kafka 4.3, in whose place this broker stands
    Feature("transaction.version", 0, 2, 2),  # KIP-890: the epoch rises with every EndTxn
)

EPOCH: Final = 1
"""Rises when the finalised levels change, so never."""
