"""Consumer groups: members, generations, assignments and committed offsets.

Public face: ``GroupCoordinator`` and its ``GroupSettings``.
"""

from tallystick.broker.groups.coordinator import GroupCoordinator
from tallystick.broker.groups.settings import GroupSettings

__all__ = ["GroupCoordinator", "GroupSettings"]
