"""When a local copy is gone on with: only if the changelog proves it."""

from __future__ import annotations

import msgspec
import pytest

from tallystick.pipeline.state.local_file import Mark, Origin, Proof
from tallystick.pipeline.state.resume import proves, resume

HOUR_MS = 3_600_000
KEPT_MS = 48 * HOUR_MS
NOW_MS = 1_000 * HOUR_MS
ORIGIN = Origin("cluster", "topic-id", "topic", 0)
MARK = Mark(ORIGIN, 11, Proof(10, b"token"), NOW_MS - HOUR_MS)


def decided(mark: Mark | None, *, log_start: int = 0, high_watermark: int = 50) -> tuple[int, bool]:
    """Where to begin, and whether the copy is kept until its proof is looked at."""
    found = resume(
        mark,
        ORIGIN,
        log_start=log_start,
        high_watermark=high_watermark,
        now_ms=NOW_MS,
        tombstones_kept_ms=KEPT_MS,
    )
    return found.offset, found.proof is not None


def changed(**fields: object) -> Mark:
    return msgspec.structs.replace(MARK, **fields)


def test_a_copy_is_gone_on_with_from_the_record_that_proves_it() -> None:
    assert decided(MARK) == (10, True)


@pytest.mark.parametrize(
    ("mark", "log_start", "high_watermark"),
    [
        (None, 3, 50),
        (changed(proof=None), 3, 50),
        (changed(origin=Origin("cluster", "made-again", "topic", 0)), 3, 50),
        (changed(origin=Origin("elsewhere", "topic-id", "topic", 0)), 3, 50),
        (MARK, 3, 10),  # newer than the changelog
        (MARK, 11, 50),  # the record is deleted
        (changed(written_ms=NOW_MS - 25 * HOUR_MS), 3, 50),  # tombstones may be gone
    ],
)
def test_what_is_not_proven_is_read_from_the_beginning(mark: Mark | None, log_start: int, high_watermark: int) -> None:
    assert decided(mark, log_start=log_start, high_watermark=high_watermark) == (log_start, False)


def test_an_old_copy_is_good_if_nobody_wrote_since() -> None:
    assert decided(changed(written_ms=0), high_watermark=12) == (10, True)


def test_only_the_record_itself_is_a_proof() -> None:
    proof = Proof(10, b"token")
    assert proves(proof, 10, b"token")
    assert not proves(proof, 10, b"another")
    assert not proves(proof, 10, None)
    assert not proves(proof, 12, b"token")
