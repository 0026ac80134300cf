"""Settings that contradict each other are refused with their names."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick.broker.groups import GroupSettings
from tallystick.errors import ConfigurationError


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"group_min_session_timeout_ms": 10, "group_max_session_timeout_ms": 9}, "group.min.session.timeout.ms"),
        ({"group_consumer_session_timeout_ms": 44_999}, "group.consumer.session.timeout.ms"),
        ({"group_consumer_session_timeout_ms": 60_001}, "group.consumer.session.timeout.ms"),
        ({"group_consumer_heartbeat_interval_ms": 1}, "group.consumer.heartbeat.interval.ms"),
        (
            {"group_consumer_min_session_timeout_ms": 1, "group_consumer_session_timeout_ms": 5_000},
            "group.consumer.heartbeat.interval.ms",
        ),
        ({"group_consumer_assignors": ("sticky",)}, "group.consumer.assignors"),
        ({"group_consumer_assignors": ()}, "group.consumer.assignors"),
    ],
)
def test_a_contradiction_is_refused_by_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        GroupSettings(**values)
