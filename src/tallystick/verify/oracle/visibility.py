"""Invariants: no aborted record is visible, what was visible stays so, and no transaction is left open."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from tallystick.verify.oracle.findings import Finding
from tallystick.verify.oracle.history import Position, TopicView


def check_aborted_visible(
    known_aborted: Collection[Position], views: Sequence[TopicView], earlier: Sequence[TopicView] = ()
) -> Finding:
    """Counts the records that were aborted, and that ``read_committed`` shows, or has shown, nevertheless.

    A position is known to be aborted from the client that aborted it, or from a view (``TopicView.aborted``).
    """
    aborted = frozenset(known_aborted).union(*(view.aborted for view in views))
    shown = {record.position: record for view in (*earlier, *views) for record in view.committed}
    return Finding.of(
        "aborted-visible",
        (f"{record.identity} at {position}" for position, record in shown.items() if position in aborted),
    )


def check_vanished(earlier: Sequence[TopicView], later: Sequence[TopicView]) -> Finding:
    """Counts the records that a reader showed before and that are gone or other ones now.

    Also what ``read_committed`` shows and ``read_uncommitted`` does not, in the later view alone.
    """
    return Finding.of("vanished", _vanished(earlier, later))


def _vanished(earlier: Sequence[TopicView], later: Sequence[TopicView]) -> Iterator[str]:
    now = {record.position: record for view in later for record in view.committed}
    raw = {record.position: record for view in later for record in view.uncommitted}
    for view in earlier:
        visible = set()
        for record in view.committed:  # still in the log, but not visible: the finding of ``aborted-visible``
            visible.add(record.position)
            if now.get(record.position) != record and raw.get(record.position) != record:
                yield f"{record.identity} at {record.position} was visible"
        for record in view.uncommitted:
            if record.position not in visible and raw.get(record.position) != record:
                yield f"{record.identity} at {record.position} was in the log"
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
