"""Keyed state of a step: stores with changelogs inside the transaction, and local copies that follow.

Owns: declaration, layers, files, changelogs, restoration. Must not know: functions, how a transaction goes.
"""

from __future__ import annotations

from tallystick.pipeline.state.batch_state import BatchState
from tallystick.pipeline.state.changelogs import Changelog, changelog_topic, co_partitioned, state_topics
from tallystick.pipeline.state.lane_state import LaneState
from tallystick.pipeline.state.layers import Layers
from tallystick.pipeline.state.partition_state import PartitionState
from tallystick.pipeline.state.step_state import StatePlan, StepState
from tallystick.pipeline.state.store import AnyStore, K, Store, UnreadableState, V
from tallystick.pipeline.state.view import StateView

__all__ = [
    "AnyStore",
    "BatchState",
    "Changelog",
    "K",
    "LaneState",
    "Layers",
    "PartitionState",
    "StatePlan",
    "StateView",
    "StepState",
    "Store",
    "UnreadableState",
    "V",
    "changelog_topic",
    "co_partitioned",
    "state_topics",
]
