"""The settings of groups and committed offsets, with Apache Kafka's names and defaults.

Owns: the values and which of them contradict each other. Must not know: configuration files, who uses which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tallystick.errors import ConfigurationError

ASSIGNORS: Final = ("uniform", "range")
"""The server-side assignors that are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """Each field is Apache Kafka's broker setting of the same name with dots.

    Three defaults are not Kafka's: ``group_initial_rebalance_delay_ms`` (Kafka: 3000), and both ``max_size``, which
    Kafka leaves unbounded. ``ConfigurationError`` if values contradict each other.
    """

    offsets_retention_minutes: int = 7 * 24 * 60
    """A committed offset is forgotten when its group has not needed it for so long (KIP-211)."""
    offsets_retention_check_interval_ms: int = 10 * 60 * 1000
    """How often offsets are looked at for that, and groups that are empty and have no offsets are removed."""
    offset_metadata_max_bytes: int = 4096
    """Of the note that a client may commit with an offset."""

    group_min_session_timeout_ms: int = 6_000
    group_max_session_timeout_ms: int = 30 * 60 * 1000
    """What a member of a classic group may ask for."""
    group_initial_rebalance_delay_ms: int = 0
    """How long an empty classic group waits for more members before its first rebalance ends."""
    group_max_size: int = 2_000
    """Members of a classic group."""

    group_consumer_session_timeout_ms: int = 45_000
    """A member of a consumer group (KIP-848) is removed after so long without a heartbeat."""
    group_consumer_min_session_timeout_ms: int = 45_000
    group_consumer_max_session_timeout_ms: int = 60_000
    group_consumer_heartbeat_interval_ms: int = 5_000
    """How often its members are told to send one."""
    group_consumer_min_heartbeat_interval_ms: int = 5_000
    group_consumer_max_heartbeat_interval_ms: int = 15_000
    group_consumer_max_size: int = 2_000
    """Members of a consumer group."""
    group_consumer_assignors: tuple[str, ...] = ASSIGNORS
    """Server-side assignors that members may choose; the first is for who chooses none."""

    def __post_init__(self) -> None:
        _between(self, "group_consumer_session_timeout_ms", "group_consumer_", "_session_timeout_ms")
        _between(self, "group_consumer_heartbeat_interval_ms", "group_consumer_", "_heartbeat_interval_ms")
        if self.group_min_session_timeout_ms > self.group_max_session_timeout_ms:
            raise ConfigurationError("group.min.session.timeout.ms is above group.max.session.timeout.ms")
        if self.group_consumer_heartbeat_interval_ms >= self.group_consumer_session_timeout_ms:
            raise ConfigurationError(
                "group.consumer.heartbeat.interval.ms must be below group.consumer.session.timeout.ms"
            )
        unknown = [name for name in self.group_consumer_assignors if name not in ASSIGNORS]
        if unknown or not self.group_consumer_assignors:
            raise ConfigurationError(f"group.consumer.assignors: {', '.join(ASSIGNORS)} are there, not {unknown}")

    @property
    def offsets_retention_ms(self) -> int:
        return self.offsets_retention_minutes * 60 * 1000


def _between(settings: GroupSettings, name: str, prefix: str, suffix: str) -> None:
    low, high = (getattr(settings, f"{prefix}{bound}{suffix}") for bound in ("min", "max"))
    if not low <= getattr(settings, name) <= high:
        raise ConfigurationError(f"{name.replace('_', '.')} is not between {low} and {high}, as min and max say")


DEFAULTS: Final = GroupSettings()
