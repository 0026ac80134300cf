"""The oracle: says what was lost, repeated, reordered or torn, from what a plain consumer sees.

Owns: the comparison of what must be there with what is there. Must not know: the broker, the pipeline, the boundary.
A bug shared with the code under test would hide, so this package imports the ground and a plain consumer, nothing else.
"""

from tallystick.verify.oracle.findings import Finding
from tallystick.verify.oracle.history import Expected, History, Position, Seen, StableSample, StateCell, TopicView
from tallystick.verify.oracle.read import (
    OracleUnfinished,
    committed_offsets,
    identity_from_header,
    identity_from_payload,
    read_view,
)
from tallystick.verify.oracle.report import Report, examine, judge, merged

__all__ = [
    "Expected",
    "Finding",
    "History",
    "OracleUnfinished",
    "Position",
    "Report",
    "Seen",
    "StableSample",
    "StateCell",
    "TopicView",
    "committed_offsets",
    "examine",
    "identity_from_header",
    "identity_from_payload",
    "judge",
    "merged",
    "read_view",
]
