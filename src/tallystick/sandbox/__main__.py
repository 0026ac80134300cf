"""``python -m tallystick.sandbox``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tallystick.errors import ConfigurationError
from tallystick.sandbox.main import DEFAULT_WINDOW_MS, serve


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tallystick.sandbox", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", help="host:port, loopback only; port 0 picks one")
    parser.add_argument("--data", required=True, type=Path, help="folder of its durable store")
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--faults", help="JSON file, or name=rate,name=rate")
    parser.add_argument("--window-ms", default=DEFAULT_WINDOW_MS, type=int, help="how long a key is kept")
    parser.add_argument("--ready-file", type=Path, help="written when it listens")
    options = parser.parse_args()
    try:
        serve(
            listen=options.listen,
            data=options.data,
            seed=options.seed,
            faults=options.faults,
            window_ms=options.window_ms,
            ready_file=options.ready_file,
        )
    except ConfigurationError as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
