"""Invariant: a state is the fold of its inputs: each one counted once, none left out."""

from __future__ import annotations

from collections.abc import Sequence

from tallystick.verify.oracle.findings import Finding
from tallystick.verify.oracle.history import StateCell


def check(states: Sequence[StateCell]) -> Finding:
    """Counts the keys whose value is another than the fold's, and the keys that no input explains."""
    return Finding.of(
        "state",
        (
            f"{cell.key} in {cell.state} is {_value(cell.found)}, and the inputs make {_value(cell.folded)}"
            for cell in states
            if cell.found != cell.folded
        ),
    )


def _value(value: str | None) -> str:
    return "absent" if value is None else value
