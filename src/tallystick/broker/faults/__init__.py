"""Faults on purpose: what a test makes the broker do to its clients, as values.

``broker.faults.add(Fault(DropResponse(), on=Match(api="end_txn")))``. See docs/testing.md.
"""

from tallystick.broker.faults.actions import (
    Action,
    AnswerError,
    Cut,
    Delay,
    DropRequest,
    DropResponse,
    Duplicate,
    FullDisk,
    Hold,
    Kill,
    Pause,
    SkewClock,
    SlowDisk,
)
from tallystick.broker.faults.fault import Fault
from tallystick.broker.faults.injection import Injection
from tallystick.broker.faults.match import Match
from tallystick.broker.faults.plan import FaultPlan

__all__ = [
    "Action",
    "AnswerError",
    "Cut",
    "Delay",
    "DropRequest",
    "DropResponse",
    "Duplicate",
    "Fault",
    "FaultPlan",
    "FullDisk",
    "Hold",
    "Injection",
    "Kill",
    "Match",
    "Pause",
    "SkewClock",
    "SlowDisk",
]
