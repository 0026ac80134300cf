"""What a run was made with, for its report: versions of everything that could matter.

Owns: the list. Must not know: what for.
"""

from __future__ import annotations

import platform
from importlib import metadata

import confluent_kafka

from tallystick import __version__


def versions() -> dict[str, str]:
    """Names and versions, as plain values."""
    return {
        "tallystick": __version__,
        "confluent-kafka": metadata.version("confluent-kafka"),
        "librdkafka": confluent_kafka.libversion()[0],
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
