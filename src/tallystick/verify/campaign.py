"""A verification as a person starts it: one trial for each guarantee, on one site, and the reports.

Owns: the order of trials and the files that are left. Must not know: how a trial goes.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.console import Console

from tallystick.operate import ClientSettings
from tallystick.pipeline import Guarantee
from tallystick.verify.capsule import write_capsule
from tallystick.verify.capsule.segments import segments
from tallystick.verify.faults.catalog import FAULTS
from tallystick.verify.faults.fault import Need
from tallystick.verify.report.page import page
from tallystick.verify.report.terminal import bar, summary
from tallystick.verify.trial.outcome import Outcome
from tallystick.verify.trial.settings import TrialSettings
from tallystick.verify.trial.site import Site, SiteSettings, opened
from tallystick.verify.trial.trial import Trial

JSON_NAME: Final = "report.json"
PAGE_NAME: Final = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """``folder`` takes the reports and the workers' logs. The settings' own guarantee gives way to ``guarantees``."""

    site: SiteSettings
    settings: TrialSettings
    guarantees: Sequence[Guarantee]
    folder: Path

    def run(self, console: Console) -> int:
        """The exit code: 0 only if each guarantee held and each fault struck."""
        self.folder.mkdir(parents=True, exist_ok=True)
        outcomes: list[Outcome] = []
        for stale in self.folder.glob("capsule-*.zip"):
            stale.unlink()
        with ExitStack() as stack:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallystick-verify-")))
            site = stack.enter_context(opened(self.site, data, proxied=self._proxied))
            console.print(f"verify on {site.name}, {site.bootstrap}")
            for guarantee in self.guarantees:
                settings = replace(self.settings, guarantee=guarantee)
                with bar(console, guarantee.value, settings.duration_s) as report:
                    trial = Trial(settings, site, self.folder / guarantee.value, report, self._exported)
                    outcomes.append(trial.run())
        summary(console, outcomes)
        self._write(outcomes)
        console.print(
            f"  all numbers: {self.folder / JSON_NAME}, to look at: {self.folder / PAGE_NAME}", soft_wrap=True
        )
        return 0 if all(outcome.passed for outcome in outcomes) else 1

    def _exported(self, outcome: Outcome, site: Site, topics: Sequence[str]) -> None:
        """A violation leaves a capsule, made while the topics are still there."""
        reach = ClientSettings.from_properties(site.bootstrap, site.client)
        guarantee = outcome.settings.guarantee.value
        write_capsule(
            outcome,
            self.folder / f"capsule-{guarantee}.zip",
            segments=segments(reach, topics),
            logs=self.folder / guarantee,
        )

    @property
    def _proxied(self) -> bool:
        """Clients go through the proxy only if a fault wants it: it costs time."""
        return any(Need.PROXY in FAULTS[spec.name].needs for spec in self.settings.faults)

    def _write(self, outcomes: Sequence[Outcome]) -> None:
        plain = {
            "passed": all(outcome.passed for outcome in outcomes),
            "trials": [outcome.to_json() for outcome in outcomes],
        }
        (self.folder / JSON_NAME).write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
        (self.folder / PAGE_NAME).write_text(page(outcomes), encoding="utf-8")
