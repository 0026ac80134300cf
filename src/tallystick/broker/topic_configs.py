"""Topic settings: the few values that this broker honours.

Owns: the table and the check. Must not know: who asks.
"""

from __future__ import annotations

from typing import Final

from tallystick.broker.limits import MAX_BATCH_BYTES
from tallystick.broker.log import settings
from tallystick.wire.errors import ApiError, ErrorCode

EFFECTIVE: Final[dict[str, str]] = {
    "cleanup.policy": "delete",
    "compression.type": "producer",
    "max.message.bytes": str(MAX_BATCH_BYTES),
    "message.timestamp.type": "CreateTime",
    "min.insync.replicas": "1",
    "retention.bytes": "-1",
    "retention.ms": "-1",
    "segment.bytes": str(settings.DEFAULTS.log_segment_bytes),
}
"""What holds for every topic. Nothing is deleted by age or size, nothing is compacted."""


def check_config(name: str, value: str | None) -> str:
    """The value, if it is what this broker does anyway; ``ApiError`` INVALID_CONFIG if not."""
    effective = EFFECTIVE.get(name)
    if effective is None:
        raise ApiError(ErrorCode.invalid_config, f"topic setting {name!r} is not supported by the embedded broker")
    if value is not None and value != effective:
        raise ApiError(ErrorCode.invalid_config, f"the embedded broker has {name}={effective} only, not {value!r}")
    return effective
