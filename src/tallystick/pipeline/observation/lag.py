"""How far a step is behind, from what its client last heard of its partitions.

Owns: reading librdkafka's statistics, and the arithmetic of lag. Must not know: who asks.

Lag is counted to the last stable offset (rule 9): what lies behind it cannot be read yet. Markers and aborted records
take offsets that nobody commits, so once everything fetched is committed, the place from which the client fetches next
counts as committed.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Fetched(msgspec.Struct, frozen=True):
    """One partition in the client, as of its last statistics; offsets below 0 are not known.

    ``waiting`` is how many fetched records the application has not been given. (librdkafka also tells an offset after
    the last record that it gave, which is none: it goes past markers.)
    """

    next_offset: int = -1
    last_stable_offset: int = msgspec.field(default=-1, name="ls_offset")
    waiting: int = msgspec.field(default=0, name="fetchq_cnt")


Place = tuple[str, int]


class _Topic(msgspec.Struct, frozen=True):
    partitions: dict[str, Fetched] = {}


class _Statistics(msgspec.Struct, frozen=True):
    topics: dict[str, _Topic] = {}


_DECODER = msgspec.json.Decoder(_Statistics)


def fetched(raw: str) -> dict[Place, Fetched]:
    """Each partition of a client's statistics (``stats_cb``)."""
    return {
        (topic, int(number)): one
        for topic, parts in _DECODER.decode(raw).topics.items()
        for number, one in parts.partitions.items()
        if number != "-1"  # where librdkafka keeps records that have no partition yet
    }


def lag_of(one: Fetched, committed: int | None, *, all_committed: bool) -> int | None:
    """Offsets from what was committed to the last stable offset; None while either is unknown.

    ``all_committed`` says that every record which the client gave is.
    """
    if one.last_stable_offset < 0 or one.next_offset < 0:
        return None
    if all_committed and one.waiting == 0:
        done = max(one.next_offset, committed or 0)
    elif committed is not None:
        done = committed
    else:
        return None
    return max(0, one.last_stable_offset - done)


def lags(
    owned: frozenset[Place],
    known: Mapping[Place, Fetched],
    *,
    taken: Mapping[Place, int],
    committed: Mapping[Place, int],
    waiting: frozenset[Place],
) -> dict[Place, int | None]:
    """The lag of each owned partition.

    ``taken`` is up to where records were put into batches, ``waiting`` where some may not have been yet.
    """
    found: dict[Place, int | None] = {}
    for place in owned:
        if place not in known:
            found[place] = None
            continue
        there = committed.get(place)
        all_committed = place not in waiting and taken.get(place, -1) <= (-1 if there is None else there)
        found[place] = lag_of(known[place], there, all_committed=all_committed)
    return found
