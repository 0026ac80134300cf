"""``python -m tallystick.broker``."""

import sys

from tallystick.broker.main import main

if __name__ == "__main__":
    sys.exit(main())
