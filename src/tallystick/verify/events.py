"""The values that workloads read and write, as a user of typed topics declares them."""

from __future__ import annotations

import msgspec

from tallystick.ids import EventId


class TickValue(msgspec.Struct, frozen=True):
    """A tick as the workload decodes it."""

    event: EventId
    account: str
    number: int
    amount_minor: int


class Echo(msgspec.Struct, frozen=True):
    """An output: the tick and which of its outputs this is."""

    identity: str
    event: EventId
    account: str
    number: int
    amount_minor: int


class Counted(msgspec.Struct, frozen=True):
    """An output of the counting workload: the tick, and its account's totals with it."""

    identity: str
    event: EventId
    account: str
    number: int
    amount_minor: int
    events: int
    total_minor: int


class Total(msgspec.Struct, frozen=True):
    """What the counting workload keeps for each account."""

    events: int = 0
    total_minor: int = 0
