"""The pipeline beside loops written by hand: the same work on the same broker, in turns.

``python -m bench.pipeline --only 100``. The work: JSON events of about 115 bytes in 4 partitions are parsed, get a
field more, and are written out, exactly-once, in one process. Each round runs each loop once, every round beginning
with another one; the first round warms up and is not counted. Printed: the medians, and their ratio to the first row.
"""

from __future__ import annotations

import argparse
import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from bench.loops import hand, ours
from bench.loops.job import Job, fill
from bench.speed import report
from bench.speed.peers import PEERS, TITLES
from bench.speed.site import Site

Loop = Callable[[Job], None]

_LANES: Final = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Contest:
    """Loops that do ``records`` in transactions of ``batch_records``."""

    title: str
    records: int
    batch_records: int
    loops: Mapping[str, Loop]


def contests(scale: float) -> list[Contest]:
    batches = {f"Tallystick, batches, {lanes} lanes": partial(ours.batches, lanes=lanes) for lanes in _LANES}
    records = {f"Tallystick, records, {lanes} lanes": partial(ours.records, lanes=lanes) for lanes in _LANES}
    tuned: dict[str, Loop] = {"by hand, tuned": hand.tuned}
    return [
        Contest("1-record transactions", int(3_000 * scale), 1, tuned | records),
        Contest("100-record transactions", int(100_000 * scale), 100, tuned | records),
        Contest(
            "20,000-record transactions",
            int(1_000_000 * scale),
            20_000,
            tuned
            | {"by hand, tuned, one header": hand.tuned_with_header, "by hand, plain": hand.plain}
            | batches
            | records,
        ),
    ]


def run(contest: Contest, site: Site, rounds: int) -> dict[str, float]:
    """Records per second, the median of the rounds."""
    source = fill(site, contest.records)
    figures: dict[str, list[float]] = {name: [] for name in contest.loops}
    names = list(contest.loops)
    for number in range(rounds + 1):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            with site.topic() as target:
                job = Job(site.bootstrap, source, target, contest.records, contest.batch_records)
                contest.loops[name](job)
            if number > 0:
                figures[name].append(job.records_per_s)
    return {name: statistics.median(values) for name, values in figures.items()}


def table(contest: Contest, figures: Mapping[str, float]) -> str:
    first = next(iter(figures.values()))
    lines = [f"| {contest.title} | transactions/s | records/s | ratio |", "| --- | --- | --- | --- |"]
    for name, value in figures.items():
        lines.append(f"| {name} | {value / contest.batch_records:,.0f} | {value:,.0f} | {value / first:.2f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each loop runs (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of records (1)")
    parser.add_argument("--only", metavar="TEXT", help="contests whose title begins so")
    parser.add_argument("--peer", choices=list(PEERS), default="apache", help="the broker (apache)")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    peer = PEERS[options.peer]()
    try:
        peer.start()
        print(f"{TITLES[options.peer]}. Medians of {options.rounds} rounds. {report.machine()}\n")
        for contest in contests(options.scale):
            if options.only is None or contest.title.startswith(options.only):
                figures = run(contest, Site(options.peer, peer), options.rounds)
                print(table(contest, figures), end="\n\n", flush=True)
    finally:
        peer.close()


if __name__ == "__main__":
    main()
