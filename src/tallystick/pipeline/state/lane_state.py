"""The state that one lane works with: of its partitions, in its open transaction.

Owns: ``LaneState``. Must not know: Kafka's client, how a transaction goes, other lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tallystick.errors import AbortableError
from tallystick.pipeline.records import Output
from tallystick.pipeline.state.partition_state import PartitionState


class LaneState:
    """Used by the lane's thread only."""

    def __init__(
        self,
        states: Mapping[int, PartitionState],
        catch_up: Callable[[list[PartitionState]], None],
        is_mine: Callable[[int], bool],
    ) -> None:
        """``states`` are the step's, by partition number; ``is_mine`` says which numbers are the lane's."""
        self._states = states
        self._catch_up = catch_up
        self._is_mine = is_mine
        self._touched: dict[int, PartitionState] = {}
        self.late = 0
        """Events of committed transactions that were left out because their windows are closed."""
        self.duplicates = 0
        """Events of committed transactions that were processed before."""

    # -- a record

    def begin(self, number: int) -> PartitionState:
        """The state of a partition, open for the changes of one record until ``keep`` or ``undo``.

        ``AbortableError`` if the partition is not ours any more.
        """
        state = self._touched.get(number)
        if state is None:
            found = self._states.get(number)
            if found is None:
                raise AbortableError(f"partition {number} is not ours any more, nor is its state")
            state = self._touched[number] = found
        state.journal.is_open = True
        return state

    def undo(self, number: int) -> None:
        """What the record of that partition changed did not happen."""
        if (state := self._touched.get(number)) is not None:
            state.undo()

    # -- a transaction

    def changes(self) -> Iterator[Output]:
        """The changelog records of the open transaction."""
        for state in self._touched.values():
            yield from state.changes()

    def commit(self, delivered: Mapping[tuple[str, int], int]) -> None:
        """Kafka committed it; ``delivered``: the last offset in each changelog partition."""
        for state in self._touched.values():
            self.late += state.late
            self.duplicates += state.duplicates
            state.late = state.duplicates = 0
        unsure = [state for state in self._touched.values() if not state.commit(delivered)]
        self._touched.clear()
        if unsure:
            self._catch_up(unsure)

    def drop(self) -> None:
        """Nothing of the open transaction happened, or ``catch_up`` will tell."""
        for state in self._touched.values():
            state.drop()
        self._touched.clear()

    def catch_up(self) -> None:
        """After a transaction whose end is not known, but settled: read from the changelogs what it was (rule 15)."""
        states = list(self._states.values())  # in one step: the polling thread changes it
        self._catch_up([state for state in states if self._is_mine(state.number)])
