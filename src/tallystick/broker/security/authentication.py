"""Authentication of one connection, as a state machine: which requests it may send, and when it has a name.

Owns: the phases and their table, re-authentication (KIP-368), what is told to a client that fails. Must not know:
sockets, the requests' encoding. The time comes in with each call.

::

    HANDSHAKE --SaslHandshake--> EXCHANGE --last token--> AUTHENTICATED --SaslHandshake--> EXCHANGE (again) ...
                                    |  any phase: a refusal --> FAILED

A connection has a name only in AUTHENTICATED. While it authenticates again, nothing else is answered.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tallystick.broker.security.mechanism import AuthenticationFailed, Exchange, Step
from tallystick.broker.security.principal import ANONYMOUS, Principal
from tallystick.errors import IllegalTransition
from tallystick.wire.errors import ErrorCode

SASL_HANDSHAKE: Final = 17
API_VERSIONS: Final = 18
SASL_AUTHENTICATE: Final = 36

_MAX_STEPS: Final = 8
"""Tokens of one exchange; SCRAM takes two."""


class Phase(enum.Enum):
    """Where a connection stands. ``RAW_EXCHANGE``: tokens come as bare frames, as SaslHandshake version 0 has it."""

    HANDSHAKE = "handshake"
    EXCHANGE = "exchange"
    RAW_EXCHANGE = "raw exchange"
    AUTHENTICATED = "authenticated"
    FAILED = "failed"


class Event(enum.Enum):
    """What moves a connection on."""

    MECHANISM_CHOSEN = "mechanism chosen"
    MECHANISM_CHOSEN_RAW = "mechanism chosen, version 0"
    PROVED = "proved"
    REFUSED = "refused"


_NEXT: Final[dict[tuple[Phase, Event], Phase]] = {
    (Phase.HANDSHAKE, Event.MECHANISM_CHOSEN): Phase.EXCHANGE,
    (Phase.HANDSHAKE, Event.MECHANISM_CHOSEN_RAW): Phase.RAW_EXCHANGE,
    (Phase.EXCHANGE, Event.PROVED): Phase.AUTHENTICATED,
    (Phase.RAW_EXCHANGE, Event.PROVED): Phase.AUTHENTICATED,
    (Phase.AUTHENTICATED, Event.MECHANISM_CHOSEN): Phase.EXCHANGE,
    **{(phase, Event.REFUSED): Phase.FAILED for phase in Phase},
}

_ADMITTED: Final[dict[Phase, frozenset[int]]] = {
    Phase.HANDSHAKE: frozenset({API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE}),
    Phase.EXCHANGE: frozenset({API_VERSIONS, SASL_AUTHENTICATE}),
    Phase.RAW_EXCHANGE: frozenset(),
    Phase.FAILED: frozenset(),
}
"""Request types that are answered before a connection has a name."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the client is told: a token if all is well, else a code and a text."""

    error: ErrorCode
    message: str | None = None
    token: bytes = b""
    session_lifetime_ms: int = 0


class Authentication:
    """One connection's. ``exchanges`` makes an exchange for each mechanism that its listener offers.

    ``session_ms`` is how long a proof holds; 0 is for ever.
    """

    def __init__(self, exchanges: Mapping[str, Callable[[], Exchange]], *, session_ms: int = 0) -> None:
        self._exchanges = exchanges
        self._session_ms = session_ms
        self._phase = Phase.HANDSHAKE
        self._exchange: Exchange | None = None
        self._mechanism = ""
        self._proved_with = ""
        self._steps = 0
        self._principal: Principal | None = None
        self._ends_ms: int | None = None

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def is_authenticated(self) -> bool:
        return self._phase is Phase.AUTHENTICATED

    @property
    def has_failed(self) -> bool:
        return self._phase is Phase.FAILED

    @property
    def takes_raw_tokens(self) -> bool:
        return self._phase is Phase.RAW_EXCHANGE

    @property
    def principal(self) -> Principal:
        """Who the client is; ``ANONYMOUS`` until it has proved it."""
        return self._principal or ANONYMOUS

    @property
    def mechanisms(self) -> tuple[str, ...]:
        return tuple(self._exchanges)

    def admits(self, api_key: int, *, now_ms: int) -> bool:
        """Whether a request of this type may be answered now. One that may not ends its connection."""
        if self._phase is Phase.AUTHENTICATED:
            expired = self._ends_ms is not None and now_ms >= self._ends_ms
            return not expired or api_key in (API_VERSIONS, SASL_HANDSHAKE)
        return api_key in _ADMITTED[self._phase]

    def _move(self, event: Event) -> None:
        following = _NEXT.get((self._phase, event))
        if following is None:
            raise IllegalTransition("authentication", self._phase.value, event.value)
        self._phase = following

    def handshake(self, mechanism: str, *, raw: bool) -> Reply:
        """The client names its mechanism. ``raw``: its tokens come without a header (version 0 of the request)."""
        again = self._phase is Phase.AUTHENTICATED and self._ends_ms is not None and not raw
        if self._phase is not Phase.HANDSHAKE and not again:
            return Reply(ErrorCode.illegal_sasl_state, f"SaslHandshake in phase {self._phase.value}")
        make = self._exchanges.get(mechanism)
        if make is None:
            self._move(Event.REFUSED)
            return Reply(ErrorCode.unsupported_sasl_mechanism, f"mechanism {mechanism!r} is not offered here")
        if again and mechanism != self._proved_with:
            self._move(Event.REFUSED)
            return Reply(
                ErrorCode.sasl_authentication_failed, "a connection authenticates again by the mechanism it had"
            )
        self._move(Event.MECHANISM_CHOSEN_RAW if raw else Event.MECHANISM_CHOSEN)
        self._exchange, self._mechanism, self._steps = make(), mechanism, 0
        return Reply(ErrorCode.none)

    def authenticate(self, token: bytes, *, now_ms: int) -> Reply:
        """The client's next token."""
        if self._exchange is None or self._phase not in (Phase.EXCHANGE, Phase.RAW_EXCHANGE):
            return Reply(ErrorCode.illegal_sasl_state, "SaslAuthenticate without SaslHandshake before it")
        try:
            step = self._step(self._exchange, token)
        except AuthenticationFailed as failure:
            self._exchange = None
            self._move(Event.REFUSED)
            text = "Authentication failed: " + (
                failure.reason or f"invalid credentials with SASL mechanism {self._mechanism}"
            )
            return Reply(ErrorCode.sasl_authentication_failed, text)
        if step.principal is None:
            return Reply(ErrorCode.none, token=step.token)
        self._exchange = None
        self._principal, self._proved_with = step.principal, self._mechanism
        self._ends_ms = now_ms + self._session_ms if self._session_ms else None
        self._move(Event.PROVED)
        return Reply(ErrorCode.none, token=step.token, session_lifetime_ms=self._session_ms)

    def _step(self, exchange: Exchange, token: bytes) -> Step:
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise AuthenticationFailed("too many messages")
        step = exchange.step(token)
        if step.principal is not None and self._principal not in (None, step.principal):
            raise AuthenticationFailed("a connection cannot change its user")
        return step
