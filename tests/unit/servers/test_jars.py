"""Jars by a lock list: what is read, what is refused, and that a full cache needs no network."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

import pytest

from tallystick.errors import ConfigurationError, CorruptData
from tallystick.servers import jars
from tallystick.servers.jars import Jar, fetch, parse_lock


def test_a_line_of_the_lock_names_coordinates_and_digest() -> None:
    (jar,) = parse_lock(f"# comment\n\norg.example:thing:1.2 {'ab' * 32}\n", source="x.lock")
    assert jar == Jar("org.example", "thing", "1.2", "ab" * 32)
    assert jar.filename == "thing-1.2.jar"


def test_a_bad_line_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigurationError, match=r"x\.lock, line 2: .*'nonsense'"):
        parse_lock("# comment\nnonsense\n", source="x.lock")


def test_the_committed_lock_is_sorted_and_has_the_server_and_the_tools() -> None:
    text = resources.files("tallystick.servers").joinpath("kafka.lock").read_text(encoding="utf-8")
    found = parse_lock(text, source="kafka.lock")
    assert [str(jar) for jar in found] == sorted({str(jar) for jar in found})
    assert {"kafka_2.13", "kafka-tools", "kafka-clients"} <= {jar.artifact for jar in found}


def test_a_full_cache_is_used_without_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(staging: Path) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(jars, "_maven", no_network)
    jar = Jar("org.example", "thing", "1.2", "ab" * 32)
    (tmp_path / jar.filename).write_bytes(b"content")
    assert fetch([jar], tmp_path, label="things") == (tmp_path / "thing-1.2.jar",)


class LocalRepository:
    """Stands where jgo's Maven context stands, with one file to give."""

    def __init__(self, staging: Path, content: bytes) -> None:
        self.cached_path = staging / "downloaded.jar"
        self._content = content

    def project(self, group: str, artifact: str) -> LocalRepository:
        return self

    def at_version(self, version: str) -> LocalRepository:
        return self

    def artifact(self) -> LocalRepository:
        return self

    def resolve(self) -> Path:
        self.cached_path.write_bytes(self._content)
        return self.cached_path


def test_a_download_enters_the_cache_only_with_the_right_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"the jar"
    monkeypatch.setattr(jars, "_maven", lambda staging: LocalRepository(staging, content))
    good = Jar("org.example", "good", "1", hashlib.sha256(content).hexdigest())
    bad = Jar("org.example", "bad", "1", "00" * 32)
    (path,) = fetch([good], tmp_path, label="things")
    assert path.read_bytes() == content
    with pytest.raises(CorruptData, match=r"org\.example:bad:1 has SHA-256"):
        fetch([bad], tmp_path, label="things")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["good-1.jar"]
