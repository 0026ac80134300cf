"""The state that a batch function works with: of each record's partition, whichever it asks for.

Owns: ``BatchState``: whose change a change is. Must not know: functions, how a transaction goes.

A function that gets many events at once changes state in the name of the record through whose context it asked for it
last, in that partition. What fails as a whole is aborted with its transaction; so only a record that is alone can fail
and leave its batch standing, and then its changes are taken back here.
"""

from __future__ import annotations

from collections.abc import Sequence

from tallystick.ids import EventId
from tallystick.pipeline.state.lane_state import LaneState
from tallystick.pipeline.state.partition_state import PartitionState


class BatchState:
    """For one call of a function."""

    def __init__(self, state: LaneState, partitions: Sequence[int], event_ids: Sequence[EventId]) -> None:
        """``partitions`` and ``event_ids`` are the records', in their order."""
        self._state = state
        self._partitions = partitions
        self._event_ids = event_ids
        self._asking: dict[int, int] = {}
        """By partition number: the record in whose name it is open."""

    def of(self, index: int) -> PartitionState:
        """The state of a record's partition, open for its changes; ``AbortableError`` if it is not ours any more."""
        number = self._partitions[index]
        before = self._asking.get(number)
        if before is not None and before != index:
            self._state.begin(number).keep(self._event_ids[before])
        self._asking[number] = index
        return self._state.begin(number)

    def keep(self) -> None:
        """The function has returned: what was changed is the transaction's."""
        for number, index in self._asking.items():
            self._state.begin(number).keep(self._event_ids[index])

    def undo(self) -> None:
        """It has raised: what the record changed that asked last did not happen."""
        for number in self._asking:
            self._state.undo(number)
