"""What a fault does once it strikes.

Owns: the actions as values, their text. Must not know: which requests they meet (``match``), how they are carried out
(``injector``).
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from tallystick.errors import ConfigurationError

When = Literal["before", "after"]
"""Before the request is done, or after it, before its answer is sent."""

_WHENS: Final = ("before", "after")


class _Action(msgspec.Struct, frozen=True, tag_field="action", forbid_unknown_fields=True):
    """Base of all actions: a frozen value that goes over the control channel as JSON."""

    def __str__(self) -> str:
        raise NotImplementedError


def _check_when(when: str) -> None:
    if when not in _WHENS:
        raise ConfigurationError(f"when={when!r} is none of {', '.join(_WHENS)}")


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and not value > 0:
        raise ConfigurationError(f"{name}={value!r} is not above 0")


class Delay(_Action, frozen=True, tag="delay"):
    """Wait ``ms`` milliseconds before the request is done, or after it, before its answer.

    A broker has one request of a connection at work at a time, so that the later ones of that connection wait, too.
    """

    ms: float
    when: When = "before"

    def __post_init__(self) -> None:
        _check_positive("ms", self.ms)
        _check_when(self.when)

    def __str__(self) -> str:
        return f"delay by {self.ms:g} ms {self.when}"


class Hold(_Action, frozen=True, tag="hold"):
    """Keep the request, or its answer, until ``Faults.release()``: a delay without guessing how long is enough."""

    when: When = "before"

    def __post_init__(self) -> None:
        _check_when(self.when)

    def __str__(self) -> str:
        return f"hold {self.when}"


class DropRequest(_Action, frozen=True, tag="drop-request"):
    """The request is lost: not done, not answered. The connection stays open and answers nothing any more.

    A client notices by its own timeout: ``socket.timeout.ms`` of librdkafka, ``request.timeout.ms`` of Java.
    """

    def __str__(self) -> str:
        return "drop the request"


class DropResponse(_Action, frozen=True, tag="drop-response"):
    """The request is done and its answer lost: the outcome is unknown to the client. The connection stays open."""

    def __str__(self) -> str:
        return "drop the response"


class AnswerError(_Action, frozen=True, tag="answer-error"):
    """Answer an error code, in every row of the response that has one; by default without doing the request.

    ``error`` is Kafka's name, as in ``NOT_COORDINATOR``. ``when="after"`` does the request and denies it. A Produce
    with acks=0, which has no answer, loses its connection, as with Apache Kafka.
    """

    error: str
    when: When = "before"

    def __post_init__(self) -> None:
        _check_when(self.when)

    def __str__(self) -> str:
        return f"answer {self.error.upper()} {self.when}"


class Duplicate(_Action, frozen=True, tag="duplicate"):
    """Do the request twice and answer the second time's outcome: a client that asked again, its first answer lost."""

    def __str__(self) -> str:
        return "duplicate"


class Cut(_Action, frozen=True, tag="cut"):
    """End the connection before the request is done, or after it, with its answer unsent."""

    when: When = "before"

    def __post_init__(self) -> None:
        _check_when(self.when)

    def __str__(self) -> str:
        return f"cut the connection {self.when}"


class Kill(_Action, frozen=True, tag="kill"):
    """SIGKILL of the broker's process; in process: a stop that writes, syncs and says nothing any more."""

    when: When = "before"

    def __post_init__(self) -> None:
        _check_when(self.when)

    def __str__(self) -> str:
        return f"kill {self.when}"


class Pause(_Action, frozen=True, tag="pause"):
    """Nothing is answered, on any connection, from this request on, until ``Faults.resume()``.

    Connections are accepted, and time goes on: sessions and transactions time out as they would.
    """

    def __str__(self) -> str:
        return "pause"


class FullDisk(_Action, frozen=True, tag="full-disk"):
    """The next ``appends`` to logs and journals fail with ENOSPC, from this request on. None: until ``free_disk()``."""

    appends: int | None = None

    def __post_init__(self) -> None:
        _check_positive("appends", self.appends)

    def __str__(self) -> str:
        return "full disk" if self.appends is None else f"full disk for {self.appends} appends"


class SlowDisk(_Action, frozen=True, tag="slow-disk"):
    """Each append to a log or journal takes ``ms`` milliseconds longer, from this request on, until ``free_disk()``.

    The broker does nothing else meanwhile, as when a write to a busy disk blocks.
    """

    ms: float

    def __post_init__(self) -> None:
        _check_positive("ms", self.ms)

    def __str__(self) -> str:
        return f"slow disk, {self.ms:g} ms for each append"


class SkewClock(_Action, frozen=True, tag="skew-clock"):
    """The broker's clocks jump, from this request on; several jumps add up.

    ``by_ms`` moves the wall clock, which may go back: time stamps and the timeout of transactions. ``monotonic_ms``
    moves the monotonic one, which may not: the sessions of group members, the expiry of producer ids.
    """

    by_ms: int = 0
    monotonic_ms: int = 0

    def __post_init__(self) -> None:
        if self.monotonic_ms < 0:
            raise ConfigurationError(f"monotonic_ms={self.monotonic_ms}: a monotonic clock does not go back")

    def __str__(self) -> str:
        return f"skew the clock by {self.by_ms} ms" + (
            f", the monotonic one by {self.monotonic_ms} ms" if self.monotonic_ms else ""
        )


Action = (
    Delay
    | Hold
    | DropRequest
    | DropResponse
    | AnswerError
    | Duplicate
    | Cut
    | Kill
    | Pause
    | FullDisk
    | SlowDisk
    | SkewClock
)

StandingAction = Pause | FullDisk | SlowDisk | SkewClock | Kill
"""Those that need no request: ``Faults`` has a method for each."""
