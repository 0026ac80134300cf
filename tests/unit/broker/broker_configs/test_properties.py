"""Java's properties format, by the examples of its own documentation and the corners of ``Properties.load``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.broker.broker_configs.properties import parse_properties, read_properties
from tallystick.errors import ConfigurationError


def parsed(text: str) -> dict[str, str]:
    return {entry.name: entry.value for entry in parse_properties(text, source="f")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Truth = Beauty", {"Truth": "Beauty"}),
        (" Truth:Beauty", {"Truth": "Beauty"}),
        ("Truth                    :Beauty", {"Truth": "Beauty"}),
        (
            "fruits                           apple, banana, pear, \\\n     cantaloupe",
            {"fruits": "apple, banana, pear, cantaloupe"},
        ),
        ("cheeses", {"cheeses": ""}),
        ("key with=x", {"key": "with=x"}),
        ("a==b", {"a": "=b"}),
        ("a = = b", {"a": "= b"}),
        ("a\\=b\\ c=d", {"a=b c": "d"}),
        ("a=trailing \t", {"a": "trailing \t"}),
        ("a=x\\\\", {"a": "x\\"}),
        ("a=x\\\\\\\ny", {"a": "x\\y"}),
        ("a=1\\", {"a": "1"}),
        ("a=1\\\n#no comment", {"a": "1#no comment"}),
        ("# a=1\\\nb=2", {"b": "2"}),
        ("  ! a=1\n\n\t\f\n", {}),
        ("a=1\r\nb=2\rc=3\n", {"a": "1", "b": "2", "c": "3"}),
        ("a=\\t\\n\\r\\f\\q", {"a": "\t\n\r\fq"}),
        ("a=\\u00e9\\uD83D\\uDE00", {"a": "é😀"}),
        ("a=\\\\u12", {"a": "\\u12"}),
        ("a=1\na=2", {"a": "2"}),
        ("=x", {"": "x"}),
    ],
)
def test_a_text_has_the_entries_that_java_reads_from_it(text: str, expected: dict[str, str]) -> None:
    assert parsed(text) == expected


def test_an_entry_knows_the_line_on_which_it_begins() -> None:
    text = "# one\na=1\\\n  2\n\nb=3\n"
    assert [(entry.name, entry.line) for entry in parse_properties(text, source="f")] == [("a", 2), ("b", 5)]


def test_a_malformed_escape_is_an_error_with_its_place() -> None:
    with pytest.raises(ConfigurationError, match=r"f, line 2: \\u is not followed"):
        parsed("a=1\nb=\\u12g4")


def test_a_file_is_latin_1_as_java_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    file.write_bytes(b"a=\xe9\n")
    assert [entry.value for entry in read_properties(file)] == ["é"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.properties cannot be read: No such file"):
        read_properties(tmp_path / "nowhere.properties")
