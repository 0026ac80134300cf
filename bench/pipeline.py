"""The pipeline beside others: the same work on the same broker, in turns.

``python -m bench.pipeline --only 20,000``. The work: JSON events of about 115 bytes in 4 partitions are parsed, get a
field more, and are written out, exactly-once, in one process. Each round runs each loop once, every round beginning
with another one; a round before warms up and is not counted. Printed: the medians, and their ratios.

Loops by hand keep none of the rules. aiokafka's guarantee is weaker: it fences no zombie. The slow ones do a part of
the records only. Quix Streams wants an interpreter of its own: ``make bench`` makes one; else ``--quix``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.loops import hand, ours, programs
from bench.loops.contest import Contest, Entry
from bench.speed import command
from bench.speed.peers import PEERS, TITLES
from bench.speed.site import Site

_LANES: Final = (1, 2, 4)
_STREAMS: Final = "Kafka Streams, one thread"
_QUIX: Final = "Quix Streams"


def contests(scale: float, classes: Path, quix: str | None) -> list[Contest]:
    batches = [Entry(f"Tallystick, batches, {lanes} lanes", partial(ours.batches, lanes=lanes)) for lanes in _LANES]
    records = [Entry(f"Tallystick, records, {lanes} lanes", partial(ours.records, lanes=lanes)) for lanes in _LANES]
    tuned = Entry("by hand, tuned", hand.tuned)
    streams = programs.Java(classes)
    others = [
        Entry("by hand, tuned, one header", hand.tuned_with_header),
        Entry("by hand, tuned, calm collector", hand.tuned_and_calm),
        Entry("by hand, plain", hand.plain, share=0.5),
        Entry(_STREAMS, streams.rate, begins_anew=True),
        Entry("aiokafka", programs.aiokafka, share=0.25, begins_anew=True),
    ]
    if quix:
        others.append(Entry(_QUIX, partial(programs.quix, python=quix), share=0.25, begins_anew=True))
    return [
        Contest("1-record transactions", int(3_000 * scale), 1, [tuned, *records]),
        Contest("100-record transactions", int(100_000 * scale), 100, [tuned, *records]),
        Contest("20,000-record transactions", int(1_000_000 * scale), 20_000, [tuned, *others, *batches, *records]),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = command.parser(__doc__, rounds=5)
    parser.add_argument(
        "--loops", metavar="TEXT", help="only loops with one of these texts, with commas, and the first"
    )
    parser.add_argument("--peer", choices=list(PEERS), default="apache", help="the broker (apache)")
    parser.add_argument("--quix", metavar="PYTHON", help="an interpreter that has quixstreams")
    options = parser.parse_args(arguments)
    command.quiet()
    made_on = command.machine()
    peer, rows = PEERS[options.peer](), list[Mapping[str, Any]]()
    try:
        peer.start()
        print(f"{TITLES[options.peer]}. Medians of {options.rounds} rounds. {made_on}\n")
        with tempfile.TemporaryDirectory() as classes:
            for contest in contests(options.scale, Path(classes), programs.find_quix(options.quix)):
                if options.only is None or options.only in contest.title:
                    chosen = contest.among(options.loops.split(",")) if options.loops else contest
                    figures = chosen.run(Site(options.peer, peer), options.rounds)
                    rows += chosen.rows(figures)
                    print(chosen.table(figures, [_STREAMS, _QUIX]), end="\n\n", flush=True)
    finally:
        peer.close()
        command.write(options.json, made_on, rows)


if __name__ == "__main__":
    main()
