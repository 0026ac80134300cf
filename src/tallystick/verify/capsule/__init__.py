"""Crash capsules: one file that holds everything about a run that found a violation.

Owns: its format. Must not know: how a run is made.
"""

from tallystick.verify.capsule.capsule import Capsule, open_capsule, write_capsule

__all__ = ["Capsule", "open_capsule", "write_capsule"]
