"""Transactions: who owns a transactional id, what its open transaction has touched, and ending it.

Public face: ``TransactionCoordinator``.
"""

from tallystick.broker.transactions.coordinator import TransactionCoordinator

__all__ = ["TransactionCoordinator"]
