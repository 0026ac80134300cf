"""From one cluster to another: topics, event ids and the groups' positions, with a proof that nothing repeats.

Owns: the survey, the copy, the comparison, the certificate. Must not know: what records mean, how a command looks.

A record that has no event id of its own has that of its position, which the other cluster would not repeat: so it is
stamped into the header on the way. A group goes on at the record that it would have read next.
"""

from __future__ import annotations

from tallystick.migration.certificate import Certificate, GroupMove, PartitionMatch
from tallystick.migration.migrating import Migration
from tallystick.migration.side import Side
from tallystick.migration.survey import Survey

__all__ = ["Certificate", "GroupMove", "Migration", "PartitionMatch", "Side", "Survey"]
