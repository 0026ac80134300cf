"""Erasing personal data: bytes are sealed under a key of their subject, and the key is destroyed.

Owns: the names that other parts use. Must not know: Kafka, whose topics have a retention of their own.
"""

from tallystick.boundary.erasure.erasing import Erasure, Holdings, erase, holdings

__all__ = ["Erasure", "Holdings", "erase", "holdings"]
