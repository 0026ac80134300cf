"""``@pytest.mark.tallystick_topics("orders", partitions=4)``: which topics a test wants.

Owns: the mark's arguments. Must not know: how a topic is made.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pytest

MARK: Final = "tallystick_topics"
MARK_LINE: Final = (
    f"{MARK}(*names, partitions=None, configs={{}}, unique=False): make these topics for the test, and delete them "
    "after it; unique: under names that no other test uses, which the fixture tallystick_topics knows"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedTopic:
    """``called`` is the name in the mark, ``name`` the topic's."""

    called: str
    name: str
    partitions: int | None = None
    configs: Mapping[str, str] = field(default_factory=dict)


def wanted_topics(node: pytest.Item) -> list[WantedTopic]:
    """Of all marks on the test, its class and its module; the nearest mark decides about a name that several have."""
    wanted: dict[str, WantedTopic] = {}
    for mark in node.iter_markers(MARK):
        for topic in _of_mark(*mark.args, **mark.kwargs):
            wanted.setdefault(topic.called, topic)
    return list(wanted.values())


def _of_mark(
    *names: str, partitions: int | None = None, configs: Mapping[str, str] | None = None, unique: bool = False
) -> list[WantedTopic]:
    return [
        WantedTopic(
            called=name,
            name=f"{name}-{uuid.uuid4().hex[:10]}" if unique else name,
            partitions=partitions,
            configs=dict(configs or {}),
        )
        for name in names
    ]
