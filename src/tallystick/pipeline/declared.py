"""What an effect outside Kafka declares about being called again, and refusing one that declares nothing.

Owns: ``Idempotent``, the ports ``Effect`` and ``UnsafeEffect``, the check. Must not know: SQL, HTTP, applications.

Exactly-once calls an effect again with the same records after every abort and every kill (rule 25). An effect says
what makes that harmless, or it says why nothing does, and then only another guarantee takes it. The type checker sees
it first: ``App.add`` takes an ``Effect``, and only ``UnsafeApp`` has ``add_unsafe``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol, TypeVar

from tallystick.errors import ConfigurationError
from tallystick.pipeline.ports import Processor

_P = TypeVar("_P", bound=Processor)
_RULE = 25


class Idempotent(Enum):
    """What makes it harmless that an effect is called again with the same records."""

    BY_INBOX = "by inbox"
    """The event's id is unique in the transaction of the effect itself: ``SqlEffect``, ``inbox.once``."""
    BY_KEY = "by key"
    """The other side keeps one row, or one charge, for each key."""
    BY_VERSION = "by version"
    """The other side keeps the newest version, in whichever order they come."""
    NO_EFFECT = "no effect"
    """It changes nothing outside Kafka."""


class Effect(Processor, Protocol):
    """A processor that may be called again with the same records, and says why."""

    @property
    def idempotent(self) -> Idempotent:
        """What makes a repetition harmless."""
        ...


class UnsafeEffect(Processor, Protocol):
    """A processor that must not be called again with the same records, and may be."""

    @property
    def unsafe(self) -> str:
        """What a repetition does: "the customer gets the letter twice"."""
        ...


def check_idempotent(step: str, processor: object) -> None:
    """``ConfigurationError`` unless the processor declares that it is idempotent, and nothing else."""
    idempotent, unsafe = getattr(processor, "idempotent", None), getattr(processor, "unsafe", None)
    name = type(processor).__name__
    if isinstance(idempotent, Idempotent) and unsafe is None:
        return
    if idempotent is not None and unsafe is not None:
        raise ConfigurationError(f"step {step!r}: {name} declares itself idempotent and unsafe", rule=_RULE)
    if unsafe is not None:
        raise ConfigurationError(
            f"step {step!r}: {name} is unsafe: {unsafe}",
            rule=_RULE,
            remedy="Give it an inbox (SqlEffect), a key or a version; or use UnsafeApp, at-least-once, and add_unsafe",
        )
    raise ConfigurationError(
        f"step {step!r}: {name} does not say what happens when it is called again with the same records",
        rule=_RULE,
        remedy="Set 'idempotent = Idempotent.BY_KEY' (or BY_INBOX, BY_VERSION, NO_EFFECT), or 'unsafe = \"why\"'",
    )


def check_unsafe(step: str, processor: object) -> None:
    """``ConfigurationError`` unless the processor declares that it is unsafe, and nothing else."""
    unsafe = getattr(processor, "unsafe", None)
    name = type(processor).__name__
    if hasattr(processor, "idempotent"):
        raise ConfigurationError(f"step {step!r}: {name} declares itself idempotent", rule=_RULE, remedy="Use add")
    if not isinstance(unsafe, str) or not unsafe.strip():
        raise ConfigurationError(
            f"step {step!r}: {name} does not say what a repetition does",
            rule=_RULE,
            remedy="Set 'unsafe = \"the customer gets the letter twice\"'",
        )


def checked(factory: Callable[[], _P], check: Callable[[str, Any], None], step: str) -> Callable[[], _P]:
    """The factory, with ``check`` of what it makes: a worker that is refused stops before it reads a record."""

    def make() -> _P:
        made = factory()
        try:
            check(step, made)
        except ConfigurationError:
            made.close()
            raise
        return made

    return make
