"""``python -m tallystick.broker``."""

import sys

if __name__ == "__main__":
    # kio imports Hypothesis if it finds it, for the hooks of its own tests: half a second of every start of a child in
    # a test environment, for nothing.
    sys.modules.setdefault("hypothesis", None)  # type: ignore[arg-type]

    from tallystick.broker.main import main

    sys.exit(main())
