"""The workload that counts in keyed state: totals by account, and each total written out.

Owns: its step, what it owes, and how the state is read back: from the changelog, with a plain consumer. Must not know:
how state is kept; that it is the fold of its inputs is what is verified.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from tallystick.ids import EventId, body_hash
from tallystick.pipeline import App, Context, Emit, Store, Topic, emit
from tallystick.verify.events import Counted, TickValue, Total
from tallystick.verify.oracle import Expected, Position, StateCell
from tallystick.verify.oracle.read import latest_values
from tallystick.verify.ticks import Tick

STORE: Final = "totals"
_TOTALS: Final = Store(STORE, key=str, value=Total)


def declare(app: App, step: str, source: Topic[TickValue], sink: Topic[Counted], *, pause_s: float) -> None:
    """Give the application its step."""

    @app.step(source=source, name=step, emits=[sink], state=[_TOTALS])
    def count(tick: TickValue, context: Context) -> Iterator[Emit]:
        if pause_s:
            time.sleep(pause_s)
        totals = context.state(_TOTALS)
        before = totals.get(tick.account) or Total()
        total = totals[tick.account] = Total(before.events + 1, before.total_minor + tick.amount_minor)
        yield emit(
            sink,
            Counted(
                f"{tick.event}/0",
                tick.event,
                tick.account,
                tick.number,
                tick.amount_minor,
                total.events,
                total.total_minor,
            ),
            key=tick.account,
        )


def expected(sink: str, ticks: Sequence[Tick], positions: Mapping[EventId, Position]) -> list[Expected]:
    """Each output with the totals that a fold of the inputs before it gives, byte for byte."""
    totals: dict[str, tuple[int, int]] = {}
    owed = []
    for tick in sorted(ticks, key=lambda tick: (tick.account, tick.number)):
        events, total = totals.get(tick.account, (0, 0))
        events, total = totals[tick.account] = (events + 1, total + tick.amount_minor)
        fields = json.loads(tick.body(identity=f"{tick.event}/0")) | {"events": events, "total_minor": total}
        owed.append(
            Expected(
                topic=sink,
                identity=f"{tick.event}/0",
                key=tick.key,
                group=tick.event,
                sequence=tick.number,
                source=positions[tick.event],
                body_hash=body_hash(json.dumps(fields, separators=(",", ":")).encode()),
            )
        )
    return owed


def states(
    bootstrap: str, changelog: str, ticks: Iterable[Tick], *, client: Mapping[str, str], timeout_s: float
) -> tuple[StateCell, ...]:
    """Each account's last value in the changelog, beside the fold of its ticks."""
    folded: dict[str, tuple[int, int]] = {}
    for tick in ticks:
        events, total = folded.get(tick.account, (0, 0))
        folded[tick.account] = (events + 1, total + tick.amount_minor)
    owed = {
        account: json.dumps({"events": events, "total_minor": total}, separators=(",", ":"))
        for account, (events, total) in folded.items()
    }
    latest = latest_values(bootstrap, changelog, client=client, timeout_s=timeout_s)
    found = {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in latest.items()}
    return tuple(
        StateCell(changelog, account, owed.get(account), found.get(account)) for account in sorted({*owed, *found})
    )
