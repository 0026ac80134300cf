"""What the commands of the benchmarks have in common: options, quiet logs, a line about the machine, and JSON.

Must not know: what is measured.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog
from bench.speed import report

T = TypeVar("T")


def parser(described: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """One with ``--rounds``, ``--scale``, ``--only`` and ``--json``."""
    made = argparse.ArgumentParser(description=described, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds, help=f"how often each one runs ({rounds})")
    made.add_argument("--scale", type=float, default=1.0, help="of the amount of work: 0.1 on a machine in use (1)")
    made.add_argument("--only", metavar="TEXT", help="what has this in its title")
    made.add_argument("--json", type=Path, metavar="FILE", help="every figure of every round is written there")
    return made


def quiet() -> None:
    """Of what the runtime says, errors only."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def in_turn(names: Sequence[T], number: int) -> list[T]:
    """The order of a round: each one begins with another one, so that what slows the machine slows all of them."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def machine() -> str:
    """What it runs on, and how busy that is before the benchmark makes it so."""
    return f"{report.machine()}. Load {os.getloadavg()[0]:.1f} at the start"


def write(path: Path | None, made_on: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows of figures with the machine, if a path was given."""
    if path is not None:
        path.write_text(json.dumps({"machine": made_on, "figures": list(rows)}, indent=1) + "\n", encoding="utf-8")
