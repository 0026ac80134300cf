"""An event in a provider's settlement file: the lines that name its charge.

Owns: finding them. Must not know: the provider's columns; a line counts if one of its fields is a known name.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from pathlib import Path

from tallystick.errors import ConfigurationError
from tallystick.trace.moment import Moment


def moments(path: Path, event_id: str, names: Collection[str]) -> Iterator[Moment]:
    """The lines with one of ``names`` in them. ``ConfigurationError`` for a file that cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, fields in enumerate(csv.reader(file), 1):
                if set(names) & set(fields):
                    yield Moment(None, event_id, f"{path.name}, line {number}", ", ".join(fields))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path} cannot be read as CSV: {error}") from error
