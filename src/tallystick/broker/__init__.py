"""The embedded broker: one process, durable, real Kafka protocol, no JVM.

``EmbeddedBroker`` runs it as a child process in a ``with`` block, ``InProcessBroker`` in a thread of this one; ``python
-m tallystick.broker`` and ``tallystick broker`` run it alone.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tallystick.broker.embedded import EmbeddedBroker, InProcessBroker, LocalBroker
    from tallystick.broker.fsync_policy import FsyncPolicy

__all__ = ["EmbeddedBroker", "FsyncPolicy", "InProcessBroker", "LocalBroker"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: the broker's own process needs nothing of it."""
    if name == "FsyncPolicy":
        from tallystick.broker.fsync_policy import FsyncPolicy

        return FsyncPolicy
    if name in __all__:
        from tallystick.broker import embedded

        return getattr(embedded, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
