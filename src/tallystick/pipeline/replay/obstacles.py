"""Why a replay must not write what it found, unless a person has decided so.

Owns: ``Obstacles``. Must not know: how it is found, how it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from tallystick.errors import ConfigurationError
from tallystick.pipeline.kafka_client import Partition
from tallystick.pipeline.replay.findings import Finding, Verdict

_WRITES: Final = (Verdict.CHANGED, Verdict.NEW)


@dataclass(slots=True)
class Obstacles:
    """Sentences, by kind. A kind that is in ``KINDS`` may be overruled."""

    KINDS: ClassVar = ("failures", "gaps")

    found: dict[str, list[str]] = field(default_factory=dict)
    _failed: int = 0
    _oldest_ms: dict[str, int] = field(default_factory=dict)
    """Of each topic that is to be written to: the oldest timestamp."""
    _new: dict[str, int] = field(default_factory=dict)

    @property
    def sentences(self) -> list[str]:
        return [sentence for some in self.found.values() for sentence in some]

    def look_at(self, finding: Finding) -> None:
        """A finding, in the pass that writes nothing."""
        if finding.verdict is Verdict.FAILED:
            self._failed += 1
        output = finding.output
        if output is None or finding.verdict not in _WRITES:
            return
        stamp = output.timestamp_ms
        if stamp is not None:
            self._oldest_ms[output.topic] = min(stamp, self._oldest_ms.get(output.topic, stamp))
        else:
            self._oldest_ms.setdefault(output.topic, 1 << 62)
        if finding.verdict is Verdict.NEW:
            self._new[output.topic] = self._new.get(output.topic, 0) + 1

    def look_at_topics(
        self, bounds: Mapping[Partition, tuple[int, int]], settings: Mapping[str, Mapping[str, str]], *, now_ms: int
    ) -> None:
        """What the topics are like that are to be written to, once all findings are in."""
        if self._failed:
            self._add("failures", f"{self._failed} records fail: nothing is known about their outputs")
        for topic, oldest_ms in self._oldest_ms.items():
            self._look_at_topic(topic, oldest_ms, settings[topic], now_ms)
            starts = [first for (name, _), (first, _) in bounds.items() if name == topic]
            if self._new.get(topic) and any(starts):
                self._add(
                    "gaps",
                    f"{topic} has lost records from its beginning: of the {self._new[topic]} outputs that seem new, "
                    "some may have been written and deleted",
                )

    def raise_unless(self, despite: frozenset[str]) -> None:
        """``ConfigurationError`` with all that stands in the way."""
        for kind, sentences in self.found.items():
            if kind in despite and kind in self.KINDS:
                continue
            remedy = f"Add --despite {kind} once you have decided so" if kind in self.KINDS else None
            raise ConfigurationError("nothing was written: " + "; ".join(sentences), remedy=remedy)

    def _look_at_topic(self, topic: str, oldest_ms: int, settings: Mapping[str, str], now_ms: int) -> None:
        policy = settings["cleanup.policy"]
        if "compact" in policy:
            self._add(
                "gaps",
                f"{topic} is compacted: what a newer record of the same key replaced may be gone and seem new, and a "
                "correction of an older record would replace the newest of its key",
            )
        retention_ms = int(settings["retention.ms"])
        by_event_time = settings.get("message.timestamp.type") != "LogAppendTime"
        if "delete" in policy and by_event_time and 0 <= retention_ms < now_ms - oldest_ms:
            self._add(
                "retention",
                f"{topic} keeps records for retention.ms={retention_ms}, and some of these have older timestamps: they "
                "would be deleted soon. Raise it for as long as their readers need",
            )

    def _add(self, kind: str, sentence: str) -> None:
        self.found.setdefault(kind, []).append(sentence)
