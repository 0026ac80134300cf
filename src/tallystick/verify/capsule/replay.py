"""A recorded history, judged again: by the checkers of today, without any cluster.

Owns: the comparison with what the run itself found. Must not know: the checkers.
"""

from __future__ import annotations

from collections.abc import Iterator

from tallystick.pipeline import Guarantee
from tallystick.verify.capsule.capsule import Capsule
from tallystick.verify.oracle import Report, judge
from tallystick.verify.trial.outcome import Violation, ruled_out


def reports(capsule: Capsule) -> tuple[Report, Report]:
    """Of inputs and outputs."""
    return judge(capsule.inputs), judge(capsule.outputs)


def violations(capsule: Capsule) -> list[Violation]:
    """What the guarantee of the run forbids, in its recorded history: the parts of it that had violations."""
    inputs, outputs = reports(capsule)
    guarantee = Guarantee(capsule.manifest["settings"]["guarantee"])
    return [
        *ruled_out("inputs", inputs, Guarantee.EXACTLY_ONCE),
        *ruled_out("outputs", outputs, guarantee),
    ]


def told(capsule: Capsule) -> Iterator[str]:
    """Lines for a person: what the run was, what it found, and what is found today."""
    manifest = capsule.manifest
    settings = manifest["settings"]
    yield f"{settings['guarantee']}, {settings['workload']}, seed {settings['seed']}, on {manifest['site']}"
    yield ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    yield f"{manifest['events']:,} events, {len(capsule.segments)} logs, {len(manifest['timeline'])} moments"
    for found in manifest["violations"]:
        yield f"then: {found['place']}: {found['checker']}: {found['count']}"
        yield from (f"  {line}" for line in found["shortest_history"] or found["examples"])
    today = violations(capsule)
    for one in today:
        yield f"now: {one.place}: {one.checker}: {one.count}"
    if not today:
        yield "now: nothing is wrong in the recorded history"
