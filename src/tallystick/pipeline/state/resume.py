"""Whether a local copy may be gone on with, and from which offset of the changelog: a pure decision.

Owns: ``resume``, and what a record has to be to prove a copy. Must not know: files, Kafka's client.

A copy is gone on with only if the changelog still has, at the same offset, the very record that closed the last
transaction in the copy. Its token is in no other record, so what lies before it is what the copy was made from. A
changelog that was deleted, made again, or cut back has another record there, or none.
"""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.pipeline.state.local_file import Mark, Origin, Proof


@dataclass(frozen=True, slots=True)
class Resume:
    """Read from ``offset``. ``proof`` has to be found there first; without one the store is emptied before."""

    offset: int
    proof: Proof | None
    why: str


def resume(
    mark: Mark | None, origin: Origin, *, log_start: int, high_watermark: int, now_ms: int, tombstones_kept_ms: int
) -> Resume:
    """Where to begin. ``why`` is for the log."""
    reason = _reason_to_rebuild(mark, origin, log_start, high_watermark, now_ms - tombstones_kept_ms // 2)
    if mark is None or mark.proof is None or reason is not None:
        return Resume(log_start, None, reason or "there is no copy")
    return Resume(mark.proof.offset, mark.proof, f"the copy is of offset {mark.position}")


def _reason_to_rebuild(
    mark: Mark | None, origin: Origin, log_start: int, high_watermark: int, oldest_ms: int
) -> str | None:
    if mark is None or mark.proof is None:
        return "there is no copy"
    if mark.origin != origin:
        return f"the copy is of {mark.origin}"
    if mark.position > high_watermark:
        return f"the copy is newer than the changelog: {mark.position} > {high_watermark}"
    if mark.proof.offset < log_start:
        return f"the changelog begins at {log_start}, after the copy's last record"
    # A tombstone between the copy and now may be gone by now, and its key would live on in the copy. Behind the last
    # record stands the marker of its transaction; more than that means that somebody wrote since.
    if mark.written_ms < oldest_ms and high_watermark > mark.proof.offset + 2:
        return "the copy is older than tombstones are kept"
    return None


def proves(proof: Proof, offset: int, token: bytes | None) -> bool:
    """Whether the first record that was read is the one that the copy ends with."""
    return offset == proof.offset and token == proof.token
