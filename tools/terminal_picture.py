"""Run a command and keep what it shows as an SVG: the pictures of the README are made with this.

python tools/terminal_picture.py docs/images/make-run.svg -- tallystick demo billing
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 100


def main(target: Path, command: list[str]) -> int:
    environment = os.environ | {
        "FORCE_COLOR": "1",
        "TTY_INTERACTIVE": "0",  # colours, but no bars that move
        "COLUMNS": str(WIDTH),
    }
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    lines = ended.stdout.replace(str(Path.cwd()) + "/", "").rstrip("\n").split("\n")
    console = Console(record=True, width=WIDTH, file=Path(os.devnull).open("w"))  # noqa: SIM115
    console.print(Text(f"$ {' '.join(command)}", style="bold"))
    console.print(Text.from_ansi("\n".join(lines)))
    target.parent.mkdir(parents=True, exist_ok=True)
    console.save_svg(str(target), title=" ".join(command))
    print(ended.stdout[-2000:], ended.stderr[-2000:])
    return ended.returncode


if __name__ == "__main__":
    separator = sys.argv.index("--")
    sys.exit(main(Path(sys.argv[1]), sys.argv[separator + 1 :]))
