"""Consumer groups (classic protocol): members, generations, assignments and committed offsets.

Public face: ``GroupCoordinator``.
"""

from tallystick.broker.groups.coordinator import GroupCoordinator

__all__ = ["GroupCoordinator"]
