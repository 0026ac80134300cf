"""The embedded broker: one process, durable, real Kafka protocol, no JVM.

``EmbeddedBroker`` runs it as a child process in a ``with`` block; ``python -m tallystick.broker`` and
``tallystick broker`` run it alone.
"""

from tallystick.broker.embedded import EmbeddedBroker
from tallystick.broker.fsync_policy import FsyncPolicy

__all__ = ["EmbeddedBroker", "FsyncPolicy"]
