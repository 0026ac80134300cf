"""The same input and the same faults, for loops that promise exactly-once: what each one loses and repeats.

``python -m bench.against`` runs each contender under each fault on an Apache Kafka of its own, and judges it as
``tallystick verify`` does. Quix Streams wants an interpreter of its own: ``make bench`` makes one; else ``--quix``.
Printed: a table of lost and repeated events. "stuck": the rest of the input was not done two minutes after the last
fault. "†": the broker's log says that it skipped markers (KAFKA-20734), so that the cell may be Kafka's doing and not
the contender's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.loops.programs import find_quix
from bench.speed import report

from tallystick.pipeline import Guarantee
from tallystick.servers.apache_kafka import VERSION
from tallystick.verify.faults.specs import FaultSpec
from tallystick.verify.trial.outcome import Outcome
from tallystick.verify.trial.settings import TrialSettings
from tallystick.verify.trial.site import On, SiteSettings, opened
from tallystick.verify.trial.trial import Trial
from tallystick.verify.versions import versions
from tallystick.verify.workloads import Shape

ROOT: Final = Path(__file__).resolve().parents[1]
FAULTS: Final = (
    "none",
    "kill-worker",
    "freeze-worker",
    "rebalance-storm",
    "cut-network",
    "lose-answer:end-txn",
    "late-end",
    "kill-broker",
)


@dataclass(frozen=True, slots=True)
class Contender:
    """``command`` None is Tallystick's own runtime; ``workers`` is as many as its document has."""

    title: str
    command: str | None
    workers: int = 2


def contenders(quix: str | None) -> dict[str, Contender]:
    """By name; Quix Streams only where it is installed."""
    found = {
        "tallystick": Contender("Tallystick", None),
        "confluent": Contender(
            "confluent-kafka, its example", f"{sys.executable} -m bench.contenders.confluent_example", workers=4
        ),
        "hand": Contender("confluent-kafka, by hand", f"{sys.executable} -m bench.contenders.hand_loop"),
        "aiokafka": Contender("aiokafka, its example", f"{sys.executable} -m bench.contenders.aiokafka_loop"),
    }
    if quix:
        found["quix"] = Contender("Quix Streams", f"{quix} -m bench.contenders.quix_loop")
    return found


def cell(outcome: Outcome) -> str:
    """One result: what was lost and repeated, and what else is wrong."""
    others = sorted(
        {found.checker for found in outcome.violations} - {"lost", "repeated", "torn", "torn-from-offsets", "reader"}
    )
    stuck = "unfinished" in others
    found = []
    if outcome.outputs.lost and not stuck:
        found.append(f"**{outcome.outputs.lost:,} lost**")
    if outcome.outputs.repeated:
        found.append(f"**{outcome.outputs.repeated:,} repeated**")
    found += ["**stuck**"] if stuck else []
    found += [other for other in others if other in {"order", "aborted-visible", "vanished", "altered", "unexpected"}]
    return (", ".join(found) or "0") + (" †" if outcome.notes else "")


def run(contender: Contender, fault: str, *, duration_s: float, seed: int, folder: Path) -> Outcome:
    """One contender under one fault, on a cluster of its own."""
    specs = () if fault == "none" else (FaultSpec.parse(f"{fault}/6"),)
    settings = TrialSettings(
        workload=Shape.COPY,
        guarantee=Guarantee.EXACTLY_ONCE,
        faults=specs,
        seed=seed,
        duration_s=duration_s,
        workers=contender.workers,
        application=contender.command,
    )
    with (
        tempfile.TemporaryDirectory() as data,
        opened(SiteSettings(on=On.APACHE, workload=Shape.COPY), Path(data), proxied=True) as site,
    ):
        return Trial(settings, site, folder).run()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="contenders by name, with commas: tallystick, confluent, hand, aiokafka, quix")
    parser.add_argument("--faults", default=",".join(FAULTS), help="with commas; each gets a run of its own")
    parser.add_argument("--duration", type=float, default=30, help="seconds of events and faults (30)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quix", help="an interpreter that has quixstreams")
    parser.add_argument("--folder", type=Path, default=Path("build/against"), help="logs and against.json")
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    quix = find_quix(options.quix)
    chosen = contenders(quix)
    if options.only:
        chosen = {name: chosen[name] for name in options.only.split(",")}
    faults = options.faults.split(",")
    options.folder.mkdir(parents=True, exist_ok=True)
    cells: dict[str, dict[str, str]] = {}
    plain = []
    for fault in faults:
        for name, contender in chosen.items():
            folder = options.folder / name / fault.replace(":", "-")
            outcome = run(contender, fault, duration_s=options.duration, seed=options.seed, folder=folder)
            cells.setdefault(fault, {})[name] = cell(outcome)
            plain.append({"contender": name, "fault": fault, "cell": cell(outcome), **outcome.to_json()})
            print(f"{fault}, {contender.title}: {cells[fault][name]}", flush=True)
            (options.folder / "against.json").write_text(json.dumps(plain, indent=1) + "\n")
    print("\n" + table(chosen, cells))
    made = f"seed {options.seed}, {options.duration:g} s. {report.machine()}"
    print(f"\nApache Kafka {VERSION}; {told(quix)}; {made}")
    return 0


def table(chosen: dict[str, Contender], cells: dict[str, dict[str, str]]) -> str:
    heads = [contender.title for contender in chosen.values()]
    lines = ["| fault, every 6 s | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
    lines += [f"| `{fault}` | " + " | ".join(row[name] for name in chosen) + " |" for fault, row in cells.items()]
    return "\n".join(lines)


def told(quix: str | None) -> str:
    """The versions of everybody."""
    from importlib import metadata

    names = {**versions(), "aiokafka": metadata.version("aiokafka")}
    names.pop("platform")
    if quix:
        asked = "from importlib import metadata as m; print(m.version('quixstreams'), m.version('confluent-kafka'))"
        found = subprocess.run([quix, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
        names["quixstreams"] = f"{found[0]} (confluent-kafka {found[1]})"
    return ", ".join(f"{name} {version}" for name, version in names.items())


if __name__ == "__main__":
    sys.exit(main())
