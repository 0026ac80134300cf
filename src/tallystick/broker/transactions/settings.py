"""The settings of transactions and idempotence, with Apache Kafka's names and defaults.

Owns: the values. Must not know: configuration files, who uses which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionSettings:
    """Each field is Apache Kafka's broker setting of the same name with dots."""

    transactional_id_expiration_ms: int = 7 * 24 * 60 * 60 * 1000
    """An id without an open transaction is forgotten after so long without use."""
    transaction_max_timeout_ms: int = 15 * 60 * 1000
    """InitProducerId with a longer ``transaction.timeout.ms`` is refused."""
    transaction_remove_expired_transaction_cleanup_interval_ms: int = 60 * 60 * 1000
    """How often ids are looked at for their expiration."""
    producer_id_expiration_ms: int = 24 * 60 * 60 * 1000
    """A partition forgets a producer id without an open transaction after so long without a write of it."""
    producer_id_expiration_check_interval_ms: int = 10 * 60 * 1000
    """How often partitions look for such producer ids."""


DEFAULTS: Final = TransactionSettings()
