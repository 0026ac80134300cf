"""What a client program says and hears: JSON lines on its standard output, plain lines on its standard input."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def hear() -> None:
    """Wait for one line."""
    sys.stdin.readline()


def closed() -> threading.Event:
    """Set when the standard input ends."""
    ended = threading.Event()

    def watch() -> None:
        for _ in sys.stdin:
            pass
        ended.set()

    threading.Thread(target=watch, daemon=True).start()
    return ended


def run(verbs: Mapping[str, Callable[..., None]]) -> None:
    """Call the verb that the arguments name."""
    verb, *words = sys.argv[1:]
    verbs[verb](*words)
