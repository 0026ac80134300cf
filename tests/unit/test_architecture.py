"""The picture in ARCHITECTURE.md is the code's own: same arrows, no more and no fewer."""

from __future__ import annotations

import re
from pathlib import Path

import grimp

GROUND = {"errors", "ids", "clock", "config", "killpoints", "processes", "stopping", "histogram", "listening"}
DOCUMENT = Path(__file__).parents[2] / "ARCHITECTURE.md"


def imports_between_parts() -> set[tuple[str, str]]:
    """(importer, imported) for each pair of parts, without the ground and the name that runs the command."""
    graph = grimp.build_graph("tallystick", cache_dir=None)
    arrows = set()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            one, other = ([*importer.split("."), ""])[1], ([*imported.split("."), ""])[1]
            if one and other and one != other and not {one, other} & {*GROUND, "__main__"}:
                arrows.add((one, other))
    return arrows


def test_the_picture_shows_the_arrows_of_the_code() -> None:
    picture = DOCUMENT.read_text().split("```mermaid\ngraph TD\n")[1].split("```")[0]
    drawn = set(re.findall(r"^\s*(\w+) --> (\w+)$", picture, flags=re.MULTILINE))
    assert drawn == imports_between_parts()
