"""``python -m tallystick``: the command, where its folder is not on the path."""

from __future__ import annotations

from tallystick.cli.main import main

if __name__ == "__main__":
    main()
