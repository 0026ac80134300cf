"""The table of all broker configurations, for a person to read.

Owns: its form. Must not know: what any of them does.
"""

from __future__ import annotations

from collections.abc import Iterator

from tallystick.broker.broker_configs.definitions import DEFINITIONS


def listed() -> Iterator[str]:
    """Lines: name, type, default, what becomes of it, and its meaning or the reason; split by tabs."""
    yield "name\ttype\tdefault\there\tmeaning"
    for row in DEFINITIONS.values():
        default = "" if row.default is None else row.default
        yield f"{row.name}\t{row.type.name.lower()}\t{default}\t{row.treatment}\t{row.text}"
