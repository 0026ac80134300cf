"""The exactly-once cycle alone, in a program that has its own main: copy one topic to another.

Run it as ``python examples/copy_exactly_once.py 127.0.0.1:9092 source target``.
Ctrl-C ends it after its open transaction.
"""

from __future__ import annotations

import signal
import sys

from tallystick.pipeline import Emit, ExactlyOnceLoop


def main(bootstrap: str, source: str, target: str) -> None:
    """Copy until a signal comes."""
    loop = ExactlyOnceLoop(
        {"bootstrap.servers": bootstrap, "group.id": "copy", "group.instance.id": "copy-0"},
        {"transactional.id": "copy/copy/copy-0/0"},
        [source],
        handler=lambda record: Emit(target, record.key, record.value),
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: loop.stop())
    loop.run()


if __name__ == "__main__":
    main(*sys.argv[1:4])
