"""The page for a browser: one file, no script, nothing loaded from elsewhere; the timeline is inline SVG.

Owns: the HTML. Everything that came from a run is escaped. Must not know: how a run is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from tallystick.verify.timeline import Moment
from tallystick.verify.trial.outcome import Outcome, Verdict

MOMENTS_DRAWN_MAX: Final = 3_000
_WIDTH: Final = 1_100
_LEFT: Final = 110
_RIGHT: Final = 20
_ROW: Final = 26
_TICKS_MAX: Final = 12
_TICK_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600)
_COLOURS: Final = {"faults": "#c0392b", "run": "#2c3e50"}
_OTHER: Final = "#2471a3"
_CLASSES: Final = {Verdict.HELD: "held", Verdict.PARTIAL: "partial", Verdict.NOT_HELD: "broken"}

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1140px; margin: 2em auto; padding: 0 1em;
  color: #1c1c1c; background: #fff; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { border: 1px solid #ccc; padding: .3em .7em; text-align: right; }
th:first-child, td:first-child { text-align: left; }
pre { background: #f5f5f5; padding: .8em; overflow-x: auto; }
.held { color: #1e7e34; font-weight: bold; }
.broken { color: #c0392b; font-weight: bold; }
.partial { color: #9a6700; font-weight: bold; }
svg { width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: #333; }
.faults { columns: 3; }
"""


def page(outcomes: Sequence[Outcome]) -> str:
    """The whole document."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>tallystick verify</title>',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<style>{_STYLE}</style></head><body><h1>tallystick verify</h1>",
        _table(outcomes),
        *(_section(outcome) for outcome in outcomes),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _table(outcomes: Sequence[Outcome]) -> str:
    headings = ("guarantee", "events", "owed", "right", "lost", "repeated", "aborted", "verdict")
    rows = []
    for outcome in outcomes:
        outputs = outcome.outputs
        numbers = (
            outcome.events, outputs.expected, outputs.right, outputs.lost, outputs.repeated, outputs.aborted_records
        )  # fmt: skip
        cells = "".join(f"<td>{number:,}</td>" for number in numbers)
        verdict = f'<td class="{_CLASSES[outcome.verdict]}">{outcome.verdict.value}</td>'
        rows.append(f"<tr><td>{escape(outcome.settings.guarantee.value)}</td>{cells}{verdict}</tr>")
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _section(outcome: Outcome) -> str:
    settings = outcome.settings
    versions = ", ".join(f"{name} {version}" for name, version in outcome.versions.items())
    made = f"{settings.workload.value} on {outcome.site}, seed {settings.seed}, {settings.workers} workers"
    parts = [
        f"<h2>{escape(settings.guarantee.value)}</h2>",
        f"<p>{escape(made)}, {outcome.elapsed_ms / 1000:.0f} s. {escape(versions)}.</p>",
        _violations(outcome),
        _faults(outcome),
        svg(outcome.moments),
        "<details><summary>every moment</summary><pre>",
        escape("\n".join(map(str, outcome.moments))),
        "</pre></details>",
    ]
    return "\n".join(parts)


def _violations(outcome: Outcome) -> str:
    names = escape(", ".join(outcome.missed))
    missed = [f"<p class=partial>Asked for, and never struck: {names}.</p>"] if outcome.missed else []
    missed += [f"<p>{escape(note)}</p>" for note in outcome.notes]
    if not outcome.violations:
        return "\n".join(["<p class=held>No violation.</p>", *missed])
    found = [
        f"<h3 class=broken>{escape(one.place)}: {escape(one.checker)}: {one.count:,}</h3>"
        f"<p>The shortest history that shows it:</p>"
        f"<pre>{escape(chr(10).join(one.witness or one.examples))}</pre>"
        for one in outcome.violations
    ]
    return "\n".join([*found, *missed])


def _faults(outcome: Outcome) -> str:
    items = "".join(f"<li>{escape(name)}: {count}</li>" for name, count in sorted(outcome.struck.items()))
    return f"<ul class=faults>{items}</ul>"


def svg(moments: Sequence[Moment]) -> str:
    """The moments over time, a row for each lane and each kind of fault: bars for what lasted, dots for the rest."""
    if not moments:
        return ""
    drawn = moments[:MOMENTS_DRAWN_MAX]
    end_ms = max(1, *(one.until_ms or one.at_ms for one in drawn))
    rows = sorted({_row_of(one) for one in drawn}, key=lambda row: (row[0] != "run", row[0] != "faults", row))
    height = _ROW * (len(rows) + 1)

    def x(at_ms: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * at_ms / end_ms

    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="timeline">']
    for second in _ticks(end_ms):
        at = x(second * 1_000)
        parts.append(
            f'<line x1="{at:.1f}" y1="0" x2="{at:.1f}" y2="{height - _ROW}" stroke="#ddd"/>'
            f'<text x="{at:.1f}" y="{height - 8}" text-anchor="middle">{second:,} s</text>'
        )
    for number, (lane, name) in enumerate(rows):
        top = number * _ROW
        colour = _COLOURS.get(lane, _OTHER)
        parts.append(f'<text x="0" y="{top + 17}">{escape(name)}</text>')
        parts += [
            _mark(one, x(one.at_ms), x(one.until_ms or one.at_ms), top, colour)
            for one in drawn
            if _row_of(one) == (lane, name)
        ]
    parts.append("</svg>")
    if len(moments) > len(drawn):
        parts.append(f"<p>The first {len(drawn):,} of {len(moments):,} moments are drawn.</p>")
    return "\n".join(parts)


def _row_of(one: Moment) -> tuple[str, str]:
    """Lane and name: a fault's text is its name, then a colon and where it struck."""
    return one.lane, one.text.partition(":")[0] if one.lane == "faults" else one.lane


def _ticks(end_ms: int) -> range:
    """Round seconds, twelve of them at most."""
    end_s = end_ms // 1_000
    step = next((step for step in _TICK_S if end_s // step < _TICKS_MAX), end_s // _TICKS_MAX + 1)
    return range(0, end_s + 1, step)


def _mark(one: Moment, begin: float, end: float, top: int, colour: str) -> str:
    title = f"<title>{escape(str(one).strip())}</title>"
    if one.until_ms is None:
        return f'<circle cx="{begin:.1f}" cy="{top + 13}" r="4" fill="{colour}">{title}</circle>'
    width = max(2.0, end - begin)
    return (
        f'<rect x="{begin:.1f}" y="{top + 5}" width="{width:.1f}" height="16" fill="{colour}" fill-opacity="0.6">'
        f"{title}</rect>"
    )
