"""A snapshot of producers against what the log adds up to.

Owns: the decoding, the comparison. Must not know: files.

They need not be the same: what idled for long is forgotten in the snapshot, and a replay of the log finds it again.
"""

from __future__ import annotations

from collections.abc import Mapping

from tallystick.broker.producer_snapshot import ReplayedProducers
from tallystick.broker.producer_state import ProducerEntry, ProducerStates


def producers_in(payload: bytes) -> dict[int, ProducerEntry]:
    """The entries by producer id. ``CorruptData`` if they do not decode."""
    states = ProducerStates()
    ReplayedProducers(states, "the snapshot").restore(payload)
    return states.producers


def compare(snapshot: Mapping[int, ProducerEntry], replayed: Mapping[int, ProducerEntry]) -> str:
    """What contradicts the log; empty if nothing does."""
    for producer_id, entry in snapshot.items():
        found = replayed.get(producer_id)
        if found is None:
            return f"producer {producer_id} has written nothing"
        if (found.producer_epoch, found.transaction_first_offset) != (
            entry.producer_epoch,
            entry.transaction_first_offset,
        ):
            return (
                f"producer {producer_id} has epoch {entry.producer_epoch} and a transaction from "
                f"{entry.transaction_first_offset}, in the log epoch {found.producer_epoch} and "
                f"{found.transaction_first_offset}"
            )
        if entry.batches and found.batches[-len(entry.batches) :] != entry.batches:
            return f"producer {producer_id} remembers other batches"
    for producer_id, entry in replayed.items():
        if entry.transaction_first_offset is not None and producer_id not in snapshot:
            return f"producer {producer_id} has a transaction open from {entry.transaction_first_offset}"
    return ""
