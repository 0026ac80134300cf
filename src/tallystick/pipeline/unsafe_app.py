"""An application whose effects may happen twice, or not at all, and that says so in its type.

Owns: ``UnsafeApp``. Must not know: Kafka's client, how steps run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from tallystick.errors import ConfigurationError
from tallystick.pipeline.app import App
from tallystick.pipeline.declared import UnsafeEffect, check_unsafe, checked
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.plan import the_one
from tallystick.pipeline.policy import DEAD_LETTER, ErrorPolicy
from tallystick.pipeline.topics import Topic


class UnsafeApp(App):
    """An ``App`` under at-least-once or at-most-once, which alone take effects that are not idempotent."""

    def __init__(self, name: str, *, guarantee: Literal[Guarantee.AT_LEAST_ONCE, Guarantee.AT_MOST_ONCE]) -> None:
        if guarantee not in (Guarantee.AT_LEAST_ONCE, Guarantee.AT_MOST_ONCE):
            raise ConfigurationError(
                f"application {name!r} is exactly-once: it takes no unsafe effects", rule=25, remedy="Use App"
            )
        super().__init__(name, guarantee=guarantee)

    def add_unsafe(
        self,
        name: str,
        sources: Sequence[Topic[Any] | str],
        processor: UnsafeEffect | None = None,
        *,
        factory: Callable[[], UnsafeEffect] | None = None,
        on_error: ErrorPolicy = DEAD_LETTER,
        emits: Sequence[Topic[Any] | str] = (),
    ) -> None:
        """Declare a step whose processor a repetition harms, or a loss does; see ``App.add``."""
        if (processor is None) == (factory is None):
            raise ConfigurationError(f"step {name!r} needs a processor or a factory, and not both")
        if processor is not None:
            check_unsafe(name, processor)
            self._declare(name, sources, the_one(processor, lanes=1), on_error, emits, processor)
        elif factory is not None:
            self._declare(name, sources, checked(factory, check_unsafe, name), on_error, emits)
