"""Invariants: no aborted record is visible, what was visible stays so, and no transaction is left open."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from tallystick.verify.oracle.findings import Finding
from tallystick.verify.oracle.history import Position, Seen, TopicView


def check_aborted_visible(known_aborted: Collection[Position], committed: Sequence[Seen]) -> Finding:
    """Counts the records that were known to be aborted, and that ``read_committed`` shows nevertheless.

    A position is known to be aborted from the client that aborted it, or from an earlier view (``TopicView.aborted``).
    """
    aborted = frozenset(known_aborted)
    return Finding.of(
        "aborted-visible",
        (f"{record.identity} at {record.position}" for record in committed if record.position in aborted),
    )


def check_vanished(earlier: Sequence[TopicView], later: Sequence[TopicView]) -> Finding:
    """Counts the records that ``read_committed`` showed before and that are gone or other ones now.

    Also what ``read_committed`` shows and ``read_uncommitted`` does not, in the later view alone.
    """
    return Finding.of("vanished", _vanished(earlier, later))


def _vanished(earlier: Sequence[TopicView], later: Sequence[TopicView]) -> Iterator[str]:
    now = {record.position: record for view in later for record in view.committed}
    for view in earlier:
        for record in view.committed:
            if now.get(record.position) != record:
                yield f"{record.identity} at {record.position} was visible"
    raw = {record.position: record for view in later for record in view.uncommitted}
    for record in now.values():
        if raw.get(record.position) != record:
            yield f"{record.identity} at {record.position} is committed, but not in the log"


def check_open(views: Sequence[TopicView]) -> Finding:
    """Counts the partitions whose last stable offset is held back: the end of the topic is not visible yet."""
    return Finding.of(
        "open",
        (
            f"{view.topic}-{partition} is stable to {view.last_stable_offsets[partition]} "
            f"of {view.high_watermarks[partition]}"
            for view in views
            for partition in view.open_partitions
        ),
    )
