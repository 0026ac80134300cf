"""Java's ``*.properties`` format, as ``java.util.Properties.load`` reads it.

Owns: escapes, continued lines, comments. Must not know: which names there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tallystick.errors import ConfigurationError

_WHITE: Final = " \t\f"
_NATURAL_LINE: Final = re.compile(r"\r\n|\n|\r")
_KEY: Final = re.compile(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_BAD_UNICODE: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u(?![0-9a-fA-F]{4})")
_LETTERS: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


@dataclass(frozen=True, slots=True)
class Property:
    """One entry. ``line`` is where it begins, from 1."""

    name: str
    value: str = field(repr=False)
    line: int


def read_properties(path: Path) -> tuple[Property, ...]:
    """The entries of a file, in its order; a name may come twice. ``ConfigurationError`` if it cannot be read.

    The file is Latin-1, as Java reads it: other letters stand as ``\\uXXXX``.
    """
    try:
        text = path.read_bytes().decode("latin-1")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    return tuple(parse_properties(text, source=str(path)))


def parse_properties(text: str, *, source: str) -> Iterator[Property]:
    """The entries of a text; ``source`` names it in a ``ConfigurationError``."""
    for number, line in _logical_lines(text):
        if _BAD_UNICODE.search(line):
            raise ConfigurationError(f"{source}, line {number}: \\u is not followed by four hexadecimal digits")
        key = _KEY.match(line)
        end = key.end() if key else 0
        yield Property(_plain(key[1] if key else ""), _plain(line[end:]), number)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    lines = _NATURAL_LINE.split(text)
    at = 0
    while at < len(lines):
        first, line = at, lines[at].lstrip(_WHITE)
        at += 1
        if not line or line[0] in "#!":
            continue
        while _continues(line):
            line = line[:-1] + (lines[at].lstrip(_WHITE) if at < len(lines) else "")
            at += 1
        yield first + 1, line


def _continues(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _plain(text: str) -> str:
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(_escaped, text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # Java's characters are UTF-16


def _escaped(match: re.Match[str]) -> str:
    letter = match[1]
    return chr(int(letter[1:], 16)) if len(letter) > 1 else _LETTERS.get(letter, letter)
