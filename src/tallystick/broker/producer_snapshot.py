"""A partition's producers as its log adds them up, and as bytes to start from.

Owns: the replay of one batch, the encoding. Must not know: where the bytes are kept, when.
"""

from __future__ import annotations

from typing import Final

import msgspec

from tallystick.broker.log.aborted import AbortedTransaction
from tallystick.broker.producer_state import ProducerEntry, ProducerStates
from tallystick.errors import CorruptData
from tallystick.wire.batch import BatchHeader, MalformedBatch
from tallystick.wire.records import read_marker

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(tuple[ProducerEntry, ...])
"""Entries are maps by field name: a field with a default may be added, and an older snapshot is still read."""


class ReplayedProducers:
    """See ``log.partition_recovery.ReplayedState``. ``partition`` is for messages."""

    def __init__(self, states: ProducerStates, partition: str) -> None:
        self._states = states
        self._partition = partition

    def apply(self, header: BatchHeader, batch: memoryview) -> AbortedTransaction | None:
        """A batch that a start read; exactly what happened when it was written."""
        if not header.is_control:
            self._states.apply_batch(header)
            return None
        if header.record_count == 0:
            return None  # compaction has removed the whole transaction
        try:
            marker = read_marker(batch)
        except MalformedBatch as error:
            raise CorruptData(str(error), place=f"{self._partition}, offset {header.base_offset}") from error
        return self._states.apply_marker(header, commit=marker.commit, coordinator_epoch=marker.coordinator_epoch)

    def save(self) -> bytes:
        return _ENCODER.encode(self._states.entries())

    def restore(self, saved: bytes | None) -> None:
        try:
            entries = () if saved is None else _DECODER.decode(saved)
        except msgspec.MsgspecError as error:
            raise CorruptData(f"a snapshot of producers does not decode: {error}", place=self._partition) from error
        self._states.restore(entries)
