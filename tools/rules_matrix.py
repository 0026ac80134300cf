"""Writes docs/rules-matrix.md: each rule, the tests that hold it, and the brokers and databases that these run on.

``python -m tools.rules_matrix`` writes the page; ``tests/unit/test_rules_matrix.py`` fails when it is out of date, or
when a rule is held by nothing. What a test runs on follows from its fixtures, as pytest resolves them.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "rules-matrix.md"
EXCEPTIONS: Final[dict[int, str]] = {}
"""Rules that no test holds yet, and why; each one is a debt."""

_ROW: Final = re.compile(r"^\| (\d+) \| (.*?) \|.*\| ([^|]+) \|$", flags=re.MULTILINE)
_NAMED: Final = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_BROKEN: Final = re.compile(r"Rules? ([\d, and]+) broken")
_EMBEDDED, _APACHE, _SQLITE, _POSTGRESQL, _NONE = "embedded", "Apache Kafka", "SQLite", "PostgreSQL", "pure"
_PLACES: Final[dict[str, tuple[str, ...]]] = {
    "kafka": (_EMBEDDED, _APACHE),
    "quick_kafka": (_EMBEDDED, _APACHE),
    "embedded_cluster": (_EMBEDDED,),
    "quick_embedded_cluster": (_EMBEDDED,),
    "apache_cluster": (_APACHE,),
    "quick_apache_cluster": (_APACHE,),
    "database_url": (_SQLITE, _POSTGRESQL),
    "postgres_server": (_POSTGRESQL,),
    "stack": (_EMBEDDED, _APACHE, _SQLITE, _POSTGRESQL),
}
"""The fixtures of tests/conftest.py."""
_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "InProcessBroker": (_EMBEDDED,),
    "EmbeddedBroker": (_EMBEDDED,),
    "BrokerInstance": (_EMBEDDED,),
    "Node": (_EMBEDDED,),
    "ApacheKafka": (_APACHE,),
    "PostgreSQL": (_POSTGRESQL,),
    "sqlite_url": (_SQLITE,),
    "sqlite": (_SQLITE,),
}
"""What a test, or a fixture that it asks for, makes by itself."""


@dataclass(frozen=True, slots=True)
class Held:
    """One test of a rule."""

    path: str
    name: str
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    number: int
    text: str
    tests: tuple[Held, ...]
    mutations: tuple[str, ...]


def rules() -> list[Rule]:
    """As docs/rules.md has them."""
    broken = _mutations()
    return [
        Rule(
            int(number),
            text,
            tuple(Held(path, name, places_of(path, name)) for path, name in _NAMED.findall(shown_by)),
            broken.get(int(number), ()),
        )
        for number, text, shown_by in _ROW.findall((ROOT / "docs" / "rules.md").read_text(encoding="utf-8"))
    ]


def blanks() -> list[int]:
    """Rules that nothing holds, and that are no known exception."""
    return [rule.number for rule in rules() if not rule.tests and rule.number not in EXCEPTIONS]


def _mutations() -> dict[int, tuple[str, ...]]:
    """Runtimes that break a rule on purpose, and that verify must catch."""
    found: dict[int, tuple[str, ...]] = {}
    for function in _functions("tests/support/broken_workers.py").values():
        told = _BROKEN.search(ast.get_docstring(function) or "")
        for number in re.findall(r"\d+", told[1]) if told else ():
            found[int(number)] = (*found.get(int(number), ()), function.name.replace("_", "-"))
    return found


def places_of(path: str, name: str) -> tuple[str, ...]:
    """What the test of that name runs on."""
    scopes = [_functions(path)]
    folder = (ROOT / path).parent
    while folder != ROOT:
        if (folder / "conftest.py").exists():
            scopes.append(_functions(str((folder / "conftest.py").relative_to(ROOT))))
        folder = folder.parent
    seen: set[tuple[int, str]] = set()
    found: set[str] = set()

    def visit(asked: str, *, as_fixture: bool, beyond: int = -1) -> None:
        """``beyond`` is the scope of a fixture that asks for the one of its own name: that is an outer one."""
        if as_fixture and asked in _PLACES:
            found.update(_PLACES[asked])
            return
        at = next((at for at in range(beyond + 1, len(scopes)) if asked in scopes[at]), None)
        if at is None or (at, asked) in seen or is_fixture(scopes[at][asked]) is not as_fixture:
            return
        seen.add((at, asked))
        function = scopes[at][asked]
        for node in ast.walk(function):
            if isinstance(node, ast.Name):  # of a helper: a fixture has no name in a body that does not ask for it
                found.update(_WORDS.get(node.id, ()))
                visit(node.id, as_fixture=False)
        if as_fixture or function.name == name:  # a helper's arguments are what it is given
            for argument in (*function.args.args, *function.args.kwonlyargs):
                visit(argument.arg, as_fixture=True, beyond=at if argument.arg == asked else -1)

    visit(name, as_fixture=False)
    order = (_EMBEDDED, _APACHE, _SQLITE, _POSTGRESQL)
    return tuple(place for place in order if place in found) or (_NONE,)


def is_fixture(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is decorated with ``pytest.fixture``, with or without arguments."""
    made = (one.func if isinstance(one, ast.Call) else one for one in function.decorator_list)
    return any(isinstance(one, ast.Attribute) and one.attr == "fixture" for one in made)


@cache
def _functions(path: str) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def page() -> str:
    """The whole page."""
    lines = [
        "# Which test holds which rule",
        "",
        "Made by `python -m tools.rules_matrix` from [rules.md](rules.md) and the tests themselves; a test of the",
        "suite fails when this page is out of date or a rule is held by nothing. *pure* is a test of values, without a",
        "broker or a database. *Broken on purpose* names runtimes without the rule that `tallystick verify` must catch",
        "(`tests/support/broken_workers.py`).",
        "",
        "| # | Held by | Runs on | Broken on purpose |",
        "| --- | --- | --- | --- |",
    ]
    for rule in rules():
        if not rule.tests:
            lines.append(f"| {rule.number} | {EXCEPTIONS.get(rule.number, '**nothing**')} | | |")
        for at, held in enumerate(rule.tests):
            number, mutations = (str(rule.number), ", ".join(rule.mutations)) if at == 0 else ("", "")
            where = f"[{held.name}](../{held.path})"
            lines.append(f"| {number} | {where} | {', '.join(held.places)} | {mutations} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
