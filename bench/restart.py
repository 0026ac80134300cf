"""How long after ``kill -9`` of a worker its successor has committed for the first time.

``python -m bench.restart``. ``tallystick run`` has one worker, a static member of a classic group; 1,000 events a
second are written into 4 partitions. The worker's process is killed, its supervisor starts another one, and the clock
stops when the group's committed offsets have moved. In it are the start of the interpreter, the imports, the fencing of
the dead worker's transaction, and the rebalance. With state the step has 1,000,000 keys: the successor uses the local
copy, or, without one, restores it from the changelog. Printed: the medians of the rounds, and the longest, in seconds.
"""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.latency import Writer
from bench.loops.job import fill
from bench.loops.programs import Position
from bench.loops.rating import GROUP, SLOT, quick, workers
from bench.speed import command
from bench.speed.peers import PEERS, TITLES
from bench.speed.site import Site

_KEYS: Final = 1_000_000
_RATE: Final = 1_000
_LOOK_S: Final = 0.01
_BEGIN_S: Final = 120
_BETWEEN_S: Final = 1.0
"""From one restart to the next kill: the worker has committed then, and is at work."""


@dataclass(frozen=True, slots=True)
class Case:
    """``keys`` 0 is a step without state."""

    title: str
    peer: str
    keys: int = 0
    local_copy: bool = True


def cases(scale: float) -> list[Case]:
    keys = int(_KEYS * scale)
    return [
        *(Case("no state", peer) for peer in ("apache", "tallystick")),
        *(Case(f"{keys:,} keys, local copy", peer, keys) for peer in ("apache", "tallystick")),
        *(
            Case(f"{keys:,} keys, from the changelog", peer, keys, local_copy=False)
            for peer in ("apache", "tallystick")
        ),
    ]


def measure(case: Case, site: Site, rounds: int) -> list[float]:
    """Seconds of each restart."""
    # Each case has a broker of its own, so that the group's name may be the same.
    source = fill(site, case.keys, users=case.keys) if case.keys else site.make_topic()
    target = site.make_topic()
    position = Position(site.bootstrap, GROUP, source)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = ["--commit-interval-ms", "20", "--max-restarts", "1000", *quick()]
        if case.keys:
            words += ["--batch-records", "20000"]
        with workers(site.bootstrap, source, target, folder, *words, application="keeping" if case.keys else "app"):
            writer = Writer(site, source, _RATE)
            _wait(position, case.keys - 1)
            writer.start()
            try:
                _wait(position, case.keys)
                return [_restart(folder, position, keep_copy=case.local_copy) for _ in range(rounds)]
            finally:
                writer.stop()


def _restart(folder: Path, position: Position, *, keep_copy: bool) -> float:
    time.sleep(_BETWEEN_S)
    if not keep_copy:
        (folder / "state").rename(folder / f"state-{time.monotonic_ns()}")
    pid = int((folder / f"{SLOT}.pid").read_text())
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    before = position.records()  # its last request may still be on its way: then this is too soon by one commit
    _wait(position, before)
    return time.perf_counter() - began


def _wait(position: Position, above: int) -> None:
    deadline = time.monotonic() + _BEGIN_S
    while position.records() <= above:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the group stands at {position.records()}, not above {above}, after {_BEGIN_S} s")
        time.sleep(_LOOK_S)


def table(found: Mapping[Case, Sequence[float]]) -> str:
    lines = ["| the step has | broker | first new commit after kill -9, s | the longest |", "| --- | --- | --- | --- |"]
    for case, values in found.items():
        lines.append(f"| {case.title} | {TITLES[case.peer]} | {statistics.median(values):.2f} | {max(values):.2f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = command.parser(__doc__, rounds=5)
    options = parser.parse_args(arguments)
    command.quiet()
    made_on = command.machine()
    found: dict[Case, list[float]] = {}
    for case in cases(options.scale):
        if options.only is None or options.only in f"{case.title} on {case.peer}":
            with ExitStack() as closing:
                peer = PEERS[case.peer]()
                closing.callback(peer.close)
                peer.start()
                found[case] = measure(case, Site(case.peer, peer), options.rounds)
    print(f"Medians of {options.rounds} rounds. {made_on}\n\n{table(found)}")
    rows: list[Mapping[str, Any]] = [
        {"case": case.title, "peer": case.peer, "unit": "s", "rounds": values} for case, values in found.items()
    ]
    command.write(options.json, made_on, rows)


if __name__ == "__main__":
    main()
