"""An application's functions run again over a range of their input, and what is different then.

Owns: the range, the comparison with what was written, corrections. Must not know: the command line, SQL, HTTP. The
groups of the application are not touched: a replay joins nothing and commits no offset.
"""

from __future__ import annotations

from tallystick.pipeline.replay.corrections import REPLACES_HEADER, REPLAY_HEADER, REVISION_HEADER
from tallystick.pipeline.replay.findings import Counts, Finding, Verdict
from tallystick.pipeline.replay.replaying import Progress, Reader, Replay, Survey
from tallystick.pipeline.replay.scope import Span

__all__ = [
    "REPLACES_HEADER",
    "REPLAY_HEADER",
    "REVISION_HEADER",
    "Counts",
    "Finding",
    "Progress",
    "Reader",
    "Replay",
    "Span",
    "Survey",
    "Verdict",
]
