"""The embedded broker beside Apache Kafka and kfake: the same client, the same work, in turns.

``python -m bench.broker --only "produce 100 B"``. Each measure runs for each broker in turn, round by round, every
round beginning with another broker; the first round warms up and is not counted. Printed: the medians of the rounds
and the ratios of the medians, as a Markdown table. How the brokers are set up is said in ``bench/speed/peers.py``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.speed import consume, footprint, produce, report, transactions
from bench.speed.measure import Measure, Size
from bench.speed.peers import PEERS
from bench.speed.runner import Runner


def all_measures(records: int, count: int) -> list[Measure]:
    """Of ``records`` records of 100 B, a fifth as many of 1 KiB, and ``count`` transactions."""
    sizes = [Size("100 B", 100, records), Size("1 KiB", 1024, records // 5)]
    return [*produce.measures(sizes), *consume.measures(sizes), *transactions.measures(count), *footprint.measures()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each measure is taken of each broker (5)")
    parser.add_argument("--warm-up", type=int, default=1, help="rounds before those that count (1)")
    parser.add_argument(
        "--records", type=int, default=2_000_000, help="of 100 B, to produce and to consume (2,000,000)"
    )
    parser.add_argument("--transactions", type=int, default=500, help="for the commit rate (500)")
    parser.add_argument("--only", action="append", metavar="TEXT", help="measures whose title has this text")
    parser.add_argument(
        "--peers", default=",".join(PEERS), help=f"whom to measure, the first against the others ({','.join(PEERS)})"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure of every round is written there")
    parser.add_argument("--list", action="store_true", help="say what would be measured")
    options = parser.parse_args()
    measures = [
        measure
        for measure in all_measures(options.records, options.transactions)
        if options.only is None or any(text in measure.title for text in options.only)
    ]
    if options.list:
        print(*(measure.title for measure in measures), sep="\n")
        return
    peers = options.peers.split(",")
    runner = Runner(
        peers,
        rounds=options.rounds,
        warm_up=options.warm_up,
        tell=lambda text: print(text, file=sys.stderr, flush=True),
    )
    runner.run(measures)
    print(f"Medians of {options.rounds} rounds. {report.machine()}\n")
    print(report.table(runner.figures, peers))
    if options.json is not None:
        options.json.write_text(report.as_json(runner.figures) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
