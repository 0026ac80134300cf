"""What a start makes of a partition's folder: segments that may be read, the state they add up to, a clean end.

Owns: what is believed and what is read again, the cut of a torn tail, the refusal of damage. Must not know: what the
state is, what happens after the start.

A segment whose stored index is believed is not read. The state comes from the newest snapshot that verifies; only the
batches behind it are read, each with its checksum, and applied as they were when they were written. Whatever does not
verify among indexes and snapshots is rebuilt: from an earlier snapshot, in the worst case from the first batch.

A batch that does not verify in the log itself is one of three things. With no good batch behind it, it is a torn write
that was never acknowledged, and is cut off. If the machine was restarted since it was written, and it was not synced,
power loss tore it: the log is cut there, and what lay behind is kept aside. Anything else is damage: ``CorruptData``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import structlog

from tallystick.broker.log import segment_swap
from tallystick.broker.log.aborted import AbortedTransaction
from tallystick.broker.log.boots import Boots
from tallystick.broker.log.compaction_point import NEVER_COMPACTED, CompactionPoint, read_point
from tallystick.broker.log.files import DRAFT_SUFFIX
from tallystick.broker.log.segment import DOOMED_SUFFIX, Segment, segment_path
from tallystick.broker.log.segment_index import INDEX_SUFFIXES, DamagedIndex
from tallystick.broker.log.segment_scan import BadBatch, find_batch, is_unwritten, verified_batches
from tallystick.broker.log.settings import LogSettings
from tallystick.broker.log.start_offset import read_start_offset
from tallystick.broker.log.state_snapshots import SUFFIX, StateSnapshots
from tallystick.broker.log.torn_tail import TornTail, cut_off
from tallystick.errors import CorruptData
from tallystick.wire.batch import BatchHeader

logger = structlog.get_logger(__name__)

ASIDE_SUFFIX: Final = ".cut"
"""Added to the name of what was cut off a log and may hold records; nothing reads it but a person."""
WAY_OUT: Final = "`tallystick broker check` shows all damage; a backup brings back what was in it"


class ReplayedState(Protocol):
    """What a log's batches add up to. ``apply`` is what also happens when a batch is written."""

    def apply(self, header: BatchHeader, batch: memoryview) -> AbortedTransaction | None:
        """Take over one batch; the row of the aborted index that it ends, if it is an abort marker."""
        ...

    def save(self) -> bytes:
        """The whole state."""
        ...

    def restore(self, saved: bytes | None) -> None:
        """Become what ``save`` gave, or empty with None. ``CorruptData`` if it does not decode."""
        ...


@dataclass(slots=True)
class RecoveredLog:
    """What was found. ``segments`` is empty in a new folder."""

    segments: list[Segment] = field(default_factory=list)
    torn: TornTail | None = None
    replayed_batches: int = 0
    replayed_bytes: int = 0
    start_offset: int = 0
    """Before it nothing is read, though a segment may hold more."""
    compaction: CompactionPoint = NEVER_COMPACTED


class PartitionRecovery:
    """One partition's start."""

    def __init__(self, folder: Path, state: ReplayedState, *, settings: LogSettings, boots: Boots) -> None:
        self._folder = folder
        self._state = state
        self._settings = settings
        self._boots = boots
        self._found = RecoveredLog()
        self.snapshots = StateSnapshots(folder, ())
        self._at = -1
        """The offset before which ``_state`` stands; -1 if it was not restored yet."""

    def run(self) -> RecoveredLog:
        """Bring the folder in order. ``CorruptData`` with file, position and offset if there is damage."""
        found = self._found
        found.start_offset = read_start_offset(self._folder)
        found.compaction = read_point(self._folder)
        self._complete_swaps()
        bases, snapshot_offsets = self._list()
        self.snapshots = StateSnapshots(self._folder, snapshot_offsets)
        bases = self._drop_before(found.start_offset, bases)
        found.segments = [Segment(segment_path(self._folder, base), base, self._settings) for base in bases]
        for segment in found.segments:
            segment.load(self._boots)
        slot = 0
        while slot < len(found.segments) - 1:  # a cut shortens the list
            if not self._is_whole(found.segments[slot]):
                self._bring_up(slot)
            self._check_successor(slot)
            found.segments[slot].release()
            slot += 1
        if found.segments:
            self._bring_up(len(found.segments) - 1)
        else:
            self._state.restore(None)
        kept = [segment.base_offset for segment in found.segments]
        if found.segments and found.segments[-1].index.stored is not None:
            kept.append(found.segments[-1].index.stored.coverage.next_offset)
        self.snapshots.keep_only(kept)
        return found

    def _complete_swaps(self) -> None:
        """What compaction had decided. The files that it takes out go when the folder is listed."""
        for decided in sorted(self._folder.glob(f"*{segment_swap.SWAP_SUFFIX}")):
            segment_swap.complete(decided)

    def _may_have_gaps(self, segment: Segment) -> bool:
        return segment.base_offset < self._found.compaction.gaps_before

    def _list(self) -> tuple[list[int], list[int]]:
        bases, snapshots, sidecars = [], [], []
        for entry in os.scandir(self._folder):
            path = Path(entry.path)
            if path.suffix in (DRAFT_SUFFIX, DOOMED_SUFFIX, segment_swap.CLEANED_SUFFIX):
                path.unlink()
            elif not path.stem.isdecimal():
                continue
            elif path.suffix == ".log":
                bases.append(int(path.stem))
            elif path.suffix == SUFFIX:
                snapshots.append(int(path.stem))
            elif path.suffix in INDEX_SUFFIXES:
                sidecars.append(path)
        for path in sidecars:
            if int(path.stem) not in set(bases):
                path.unlink()
        return sorted(bases), snapshots

    def _drop_before(self, start_offset: int, bases: list[int]) -> list[int]:
        """Remove the segments that lie before the start: a crash interrupted that, or it was not yet time.

        They stay if the state before the first of the others would have to be replayed from them.
        """
        first = max((base for base in bases if base <= start_offset), default=-1)
        if first in bases[:1] or self.snapshots.load(first, None) is None or not self.snapshots.sync(first):
            return bases
        for base in bases:
            if base < first:
                segment_path(self._folder, base).unlink()
                for suffix in INDEX_SUFFIXES:
                    segment_path(self._folder, base).with_suffix(suffix).unlink(missing_ok=True)
        return [base for base in bases if base >= first]

    def _is_whole(self, segment: Segment) -> bool:
        stored = segment.index.stored
        return stored is not None and stored.closed and segment.length() == segment.size_bytes

    def _check_successor(self, slot: int) -> None:
        """A segment ends where the next begins; in a compacted log it may end before."""
        if slot == len(self._found.segments) - 1:
            return
        segment, following = self._found.segments[slot], self._found.segments[slot + 1]
        if segment.next_offset == following.base_offset or (
            self._may_have_gaps(segment) and segment.next_offset <= following.base_offset
        ):
            return
        if self._may_be_lost(slot):
            self._cut_here(slot, segment.size_bytes, "its end is missing, and the segments after it were not synced")
            return
        raise CorruptData(
            f"a segment begins at {following.base_offset}, its predecessor ends at {segment.next_offset}: records are "
            f"missing; {WAY_OUT}",
            place=str(segment.path),
        )

    def _bring_up(self, slot: int) -> None:
        """Read what the index of this segment does not cover, or all of it; the state stands behind it then."""
        segment = self._found.segments[slot]
        if not self._resume(segment):
            segment.forget()
            self._stand_before(slot)
        closed = slot < len(self._found.segments) - 1
        self._read(slot, segment, closed=closed)
        if closed and slot < len(self._found.segments) - 1:
            segment.index.store(segment.coverage, closed=True, boot_id=self._boots.present)
            following = self._found.segments[slot + 1].base_offset
            if self._may_have_gaps(segment):  # it tells less of the producers than the snapshot that was made then
                self._at = -1
                self._restore(following, None)
            self._save_state(following, segment)

    def _resume(self, segment: Segment) -> bool:
        if segment.index.stored is None:
            return False
        try:
            segment.index.resume()
        except DamagedIndex as damage:
            logger.warning("a damaged index is rebuilt from its segment", reason=str(damage))
            return False
        return self._restore(segment.next_offset, segment.last_crc)

    def _stand_before(self, slot: int) -> None:
        """Bring the state to the first batch of this segment, from the nearest snapshot before it."""
        segments = self._found.segments
        first = slot
        while not self._stands_before(first):
            first -= 1
        for segment in segments[first:slot]:
            logger.info("an earlier segment is read again, for its producers", file=str(segment.path))
            for header, _, batch in self._believed(segment):
                self._state.apply(header, batch)
            self._at = segment.next_offset
            segment.release()
        if first < slot:
            self._save_state(segments[slot].base_offset, segments[slot - 1])

    def _stands_before(self, slot: int) -> bool:
        segments = self._found.segments
        base = segments[slot].base_offset
        # Compaction may have changed the batch before: the snapshot is that of the offset all the same.
        is_as_written = slot > 0 and not self._may_have_gaps(segments[slot - 1])
        if self._restore(base, segments[slot - 1].last_crc if is_as_written else None):
            return True
        if slot == 0:
            self._state.restore(None)
            self._at = base
        return slot == 0

    def _restore(self, offset: int, last_crc: int | None) -> bool:
        if self._at == offset:
            return True
        payload = self.snapshots.load(offset, last_crc)
        if payload is not None:
            try:
                self._state.restore(payload)
            except CorruptData as damage:
                logger.warning("a snapshot does not decode", reason=str(damage))
            else:
                self._at = offset
                return True
        if offset in self.snapshots.offsets:
            logger.warning(
                "a snapshot does not verify; the state is replayed from the log",
                folder=str(self._folder),
                offset=offset,
            )
            self.snapshots.remove(offset)
        return False

    def _save_state(self, offset: int, segment: Segment) -> None:
        self._at = offset
        if offset not in self.snapshots.offsets:
            self.snapshots.save(offset, segment.last_crc, self._state.save())

    def _believed(self, segment: Segment) -> Iterator[tuple[BatchHeader, int, memoryview]]:
        """The batches of a segment whose index was believed, so that none of them may be bad."""
        try:
            yield from verified_batches(
                segment.fd,
                start=0,
                end=segment.size_bytes,
                next_offset=segment.base_offset,
                gaps=self._may_have_gaps(segment),
            )
        except BadBatch as bad:
            raise self._damage(segment, bad, "") from bad

    def _read(self, slot: int, segment: Segment, *, closed: bool) -> None:
        start, length = segment.size_bytes, segment.length()
        try:
            for header, _, batch in verified_batches(
                segment.fd,
                start=start,
                end=length,
                next_offset=segment.next_offset,
                gaps=closed and self._may_have_gaps(segment),
            ):
                row = self._state.apply(header, batch)
                segment.note(header)
                if row is not None:
                    segment.index.note_aborted(row)
                self._found.replayed_batches += 1
        except BadBatch as bad:
            self._handle(slot, segment, bad, length)
        self._at = segment.next_offset
        self._found.replayed_bytes += segment.size_bytes - start

    def _handle(self, slot: int, segment: Segment, bad: BadBatch, length: int) -> None:
        """Cut at a torn write, refuse damage."""
        later = find_batch(segment.fd, start=bad.position + 1, end=length, at_least=bad.offset)
        if later is None and slot == len(self._found.segments) - 1:
            self._found.torn = cut_off(segment.path, bad.position, length, bad.reason, kept="")
            return
        torn_by_power_loss = later is None or is_unwritten(segment.fd, start=bad.position, end=later[0])
        if torn_by_power_loss and self._may_be_lost(slot) and bad.position >= segment.durable_bytes:
            self._cut_here(slot, bad.position, bad.reason)
            return
        behind = "" if later is None else f", yet a valid one follows at byte {later[0]}"
        raise self._damage(segment, bad, behind)

    def _damage(self, segment: Segment, bad: BadBatch, behind: str) -> CorruptData:
        return CorruptData(
            f"a batch does not verify ({bad.reason}){behind}: this is damage, not a torn write; {WAY_OUT}",
            place=f"{segment.path}, byte {bad.position}, offset {bad.offset}",
        )

    def _may_be_lost(self, slot: int) -> bool:
        """Whether power loss can have taken part of this segment: segments reach the disk in their order."""
        if not self._boots.machine_restarted:
            return False
        stored = [segment.index.stored for segment in self._found.segments[slot:]]
        return not any(header is not None and header.durable and header.closed for header in stored)

    def _cut_here(self, slot: int, position: int, reason: str) -> None:
        """Cut this segment at ``position`` and set the following ones aside: the log ends here."""
        segments = self._found.segments
        segment, following = segments[slot], segments[slot + 1 :]
        kept = segment.path.with_name(f"{segment.path.name}.{position}{ASIDE_SUFFIX}")
        length = segment.length()
        self._found.torn = cut_off(segment.path, position, length, reason, kept=str(kept) if position < length else "")
        for other in following:
            other.release()
            other.index.reset()
            other.path.replace(other.path.with_name(other.path.name + ASIDE_SUFFIX))
            logger.error("a segment behind a torn write is set aside", file=str(other.path) + ASIDE_SUFFIX)
        del segments[slot + 1 :]
