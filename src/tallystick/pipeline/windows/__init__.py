"""Steps over event time: windows, joins, tables, deduplication. Each is a step's function over keyed state.

Owns: what an event changes in them, and what it lets close. Must not know: transactions, files, Kafka's client.
"""

from __future__ import annotations

from tallystick.pipeline.windows.aggregation import Aggregation
from tallystick.pipeline.windows.deduplication import Deduplication
from tallystick.pipeline.windows.joins import Join, JoinFunction, JoinSide, JoinSpan
from tallystick.pipeline.windows.shapes import Hopping, Session, Tumbling
from tallystick.pipeline.windows.tables import Table, TableTopic, WithTables
from tallystick.pipeline.windows.timeline import Late, LateEvent, TimeJump
from tallystick.pipeline.windows.windows import Window, Windows

__all__ = [
    "Aggregation",
    "Deduplication",
    "Hopping",
    "Join",
    "JoinFunction",
    "JoinSide",
    "JoinSpan",
    "Late",
    "LateEvent",
    "Session",
    "Table",
    "TableTopic",
    "TimeJump",
    "Tumbling",
    "Window",
    "Windows",
    "WithTables",
]
