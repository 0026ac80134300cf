"""The port to a payment provider: what is asked, what may come back.

Owns: ``Provider``, its policy, its outcomes and look-ups. Must not know: HTTP, SQL, any one provider.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol

from tallystick.errors import ConfigurationError, FatalError
from tallystick.pipeline.declared import Idempotent


class KeyReuseError(FatalError):
    """The provider saw this key with other parameters: a bug of ours, so everything stops (rule 31)."""


class ProviderRefusedError(FatalError):
    """The provider does not know us (credentials, address): no attempt can succeed until somebody looks."""


@dataclass(frozen=True, slots=True)
class Unsafe:
    """The provider knows no keys: what is sent twice happens twice. ``why`` says what that does."""

    why: str


@dataclass(frozen=True, slots=True)
class ProviderPolicy:
    """What the provider promises about idempotency keys.

    ``repetition`` declares what becomes of the same bytes under the same key: ``Idempotent.BY_KEY``, or ``Unsafe``,
    whose attempts are sent once, and looked up for whatever became of them; it has no window and no margin.

    ``window_ms`` is how long it keeps a key after first use, ``margin_ms`` how long before that end we stop sending
    (clock differences, time on the wire). ``quiet_ms`` is how long after the last send a listing may be believed.
    """

    name: str
    window_ms: int
    margin_ms: int
    timeout_ms: int
    quiet_ms: int
    repetition: Literal[Idempotent.BY_KEY] | Unsafe

    def __post_init__(self) -> None:
        if isinstance(self.repetition, Unsafe):
            if self.window_ms or self.margin_ms or self.timeout_ms <= 0 or not self.repetition.why.strip():
                raise ConfigurationError(
                    f"provider {self.name!r} is unsafe: it needs a reason, a timeout, and no window and no margin",
                    rule=31,
                    remedy="A provider that keeps keys for some time is Idempotent.BY_KEY",
                )
            return
        if self.repetition is not Idempotent.BY_KEY:
            raise ConfigurationError(
                f"provider {self.name!r} does not say what becomes of a request that is sent twice",
                rule=31,
                remedy="Declare repetition=Idempotent.BY_KEY, or Unsafe('why')",
            )
        if self.timeout_ms <= 0 or self.margin_ms < self.timeout_ms or self.window_ms <= self.margin_ms:
            raise ConfigurationError(
                f"provider {self.name!r}: need 0 < timeout {self.timeout_ms} <= margin {self.margin_ms} "
                f"< window {self.window_ms} (ms)",
                rule=31,
            )

    @property
    def sendable_ms(self) -> int:
        """How long after it was first sent an attempt may be sent: the first time only, if the provider is unsafe."""
        return self.timeout_ms if isinstance(self.repetition, Unsafe) else self.window_ms - self.margin_ms


class OutcomeKind(Enum):
    """What an answer, or its absence, says about the attempt."""

    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    PENDING_ACTION = "pending action"
    UNKNOWN = "unknown"
    """It may have happened: timeout, lost connection, 5xx."""
    LATER = "later"
    """In flight (409) or rate limited (429): the same key again, after a pause. Equally unknown until then."""
    ABSENT = "absent"
    """Only from a look-up, never from an answer to a POST."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer. ``amount_minor`` is what was captured; ``fee_minor`` None if the provider does not say yet.

    ``replayed_failure``: the provider replays a stored 5xx under this key, so sending again can say nothing new.
    Of PENDING_ACTION: ``action_window_ms`` is how long the customer may take before the payment is cancelled,
    ``look_again_ms`` how often the provider is asked meanwhile.
    """

    kind: OutcomeKind
    provider_object_id: str | None = None
    amount_minor: int | None = None
    fee_minor: int | None = None
    currency: str | None = None
    code: str | None = None
    status: int | None = None
    response: bytes = b""
    retry_after_ms: int | None = None
    replayed_failure: bool = False
    action_window_ms: int = 3_600_000
    look_again_ms: int = 30_000


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """The bytes to send and the key to send them under; the same on every re-send (rule 31)."""

    provider_key: str
    body: bytes
    operation: str = "charge"


@dataclass(frozen=True, slots=True)
class LookUpRequest:
    """Everything the provider did for ``reference`` since ``from_ms``. ``known`` are objects of other attempts.

    ``until_ms`` is when the attempt was sent last: a provider that publishes reports needs those up to then.
    """

    reference: str
    from_ms: int
    known: frozenset[str] = frozenset()
    operation: str = "charge"
    until_ms: int = 0


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """End a payment that waited too long for its customer; ``provider_key`` makes asking twice harmless."""

    provider_object_id: str
    provider_key: str
    operation: str = "charge"


@dataclass(frozen=True, slots=True)
class LookUp:
    """What a listing holds. ``complete`` only if every page was read: absence counts only then (rule 32)."""

    outcomes: tuple[Outcome, ...]
    complete: bool


class Provider(Protocol):
    """A payment provider. Implementations never raise for what the network or the provider does wrong."""

    @property
    def policy(self) -> ProviderPolicy:
        """The provider's name and its promises."""
        ...

    async def charge(self, request: ChargeRequest) -> Outcome:
        """Send once, whatever the operation; do not retry.

        Raises ``KeyReuseError`` and ``ProviderRefusedError`` only.
        """
        ...

    async def look_up(self, request: LookUpRequest) -> LookUp:
        """List what happened. A failed or partial listing is ``complete=False``."""
        ...

    async def cancel(self, request: CancelRequest) -> Outcome:
        """End a pending payment: DECLINED if that worked, SUCCEEDED if the customer was faster, else UNKNOWN."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
