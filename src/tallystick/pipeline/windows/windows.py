"""Windows as an application declares them: a store whose entries are windows of keys.

Owns: ``Windows`` and ``Window``. Must not know: what is done with them (``aggregation``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic

from tallystick.pipeline.state import K, Store, V
from tallystick.pipeline.topics import Topic
from tallystick.pipeline.windows.shapes import Shape, milliseconds
from tallystick.pipeline.windows.timeline import Late


@dataclass(frozen=True, slots=True)
class Window(Generic[K, V]):
    """A window of one key, from ``start_ms`` up to and without ``end_ms``, and what was aggregated in it."""

    key: K
    start_ms: int
    end_ms: int
    value: V


class Windows(Store[K, V]):
    """A store of windows: for each key and window one value, until the window closes.

    A window closes when stream time, the greatest event time of the partition, reaches its end and ``grace`` has passed
    as well. Its entry is deleted then, in the same transaction. An event whose windows are closed is late: ``late``
    says what becomes of it, a ``Topic`` of bytes takes it as it came. ``max_jump`` refuses an event that is further
    ahead of its partition than that: one wrong clock would otherwise close everything.

    Time goes on with events only: while a partition gets none, its windows stay open.
    """

    __slots__ = ("grace_ms", "late", "max_jump_ms", "shape")

    timed = True

    def __init__(
        self,
        name: str,
        shape: Shape,
        *,
        key: type[K],
        value: type[V],
        grace: timedelta = timedelta(0),
        late: Late | Topic[bytes] = Late.DEAD_LETTER,
        max_jump: timedelta | None = None,
        version: int = 1,
        upgrade: Callable[[bytes, int], V] | None = None,
    ) -> None:
        super().__init__(name, key=key, value=value, version=version, upgrade=upgrade)
        shape.check()
        self.shape = shape
        self.grace_ms = milliseconds(grace, "grace", least=0)
        self.late = late
        self.max_jump_ms = None if max_jump is None else milliseconds(max_jump, "max_jump")


AnyWindows = Windows[Any, Any]
