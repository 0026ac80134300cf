"""Effects at a provider: the real table of attempts, dispatchers that die, a provider that hangs up.

Owns: rows that survive crashes, leases, and the provider's own truth. Must not know: SQL, HTTP.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

from tallystick.boundary.effects import TERMINAL_STATES, Event, State, transition

LEASE_MS: Final = 5_000
WINDOW_MS: Final = 40_000
QUIET_MS: Final = 10_000


@dataclass(slots=True)
class Attempt:
    intent: str
    state: State = State.CREATED
    lease_until_ms: int = 0
    token: int = 0
    first_sent_ms: int | None = None


@dataclass(slots=True)
class Provider:
    """Charges once for each key while it remembers the key; ``charges`` is what really happened."""

    charges: list[str] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)

    def charge(self, key: str, now_ms: int) -> None:
        if key not in self.known or now_ms - self.known[key] > WINDOW_MS:
            self.known[key] = now_ms
            self.charges.append(key)


@dataclass(slots=True)
class Effects:
    """Attempts of intents, each a few steps; every step may be the last of its dispatcher."""

    intents: int
    provider: Provider = field(default_factory=Provider)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    blind: bool = False
    """Sends again after the window: the mutation."""

    def __post_init__(self) -> None:
        for number in range(self.intents):
            self.attempts[f"intent-{number}"] = Attempt(f"intent-{number}")

    @property
    def is_settled(self) -> bool:
        return all(attempt.state in TERMINAL_STATES for attempt in self.attempts.values())

    def step(self, chance: random.Random, now_ms: int, *, quiet: bool) -> None:
        """One dispatcher does one thing to one attempt; unless ``quiet`` it may die, or lose the answer."""
        open_ones = [attempt for attempt in self.attempts.values() if attempt.state not in TERMINAL_STATES]
        if not open_ones:
            return
        attempt = chance.choice(open_ones)
        if attempt.state in {State.SENT, State.RESOLVING, State.CLAIMED} and now_ms < attempt.lease_until_ms:
            return  # somebody holds it
        if attempt.state in {State.SENT, State.RESOLVING}:
            attempt.state = transition(attempt.state, Event.EXPIRE)
            return
        lost = not quiet and chance.random() < 0.4
        died = not quiet and chance.random() < 0.3
        attempt.lease_until_ms = now_ms + LEASE_MS
        window_over = attempt.first_sent_ms is not None and now_ms >= attempt.first_sent_ms + WINDOW_MS - LEASE_MS
        if attempt.state is State.UNKNOWN and window_over and not self.blind:
            self._resolve(attempt, now_ms, lost=lost, died=died)
        else:
            self._send(attempt, now_ms, lost=lost, died=died)

    def _send(self, attempt: Attempt, now_ms: int, *, lost: bool, died: bool) -> None:
        attempt.state = transition(attempt.state, Event.CLAIM)
        if died:
            return
        attempt.state = transition(attempt.state, Event.SEND)
        attempt.first_sent_ms = now_ms if attempt.first_sent_ms is None else attempt.first_sent_ms
        self.provider.charge(attempt.intent, now_ms)
        if not lost:
            attempt.state = transition(attempt.state, Event.SUCCEED)
        elif not died:
            attempt.state = transition(attempt.state, Event.LOSE)

    def _resolve(self, attempt: Attempt, now_ms: int, *, lost: bool, died: bool) -> None:
        attempt.state = transition(attempt.state, Event.RESOLVE)
        if died:
            return
        if lost:
            attempt.state = transition(attempt.state, Event.LOSE)
        elif attempt.intent in self.provider.known:
            attempt.state = transition(attempt.state, Event.SUCCEED)
        elif attempt.first_sent_ms is not None and now_ms > attempt.first_sent_ms + WINDOW_MS + QUIET_MS:
            attempt.state = transition(attempt.state, Event.CONFIRM_ABSENT)
        else:
            attempt.state = transition(attempt.state, Event.LOSE)

    def breaches(self) -> list[str]:
        """What the provider's truth and the rows disagree about."""
        found = []
        for intent, attempt in self.attempts.items():
            charged = self.provider.charges.count(intent)
            if charged > 1:
                found.append(f"{intent} was charged {charged} times")
            if (attempt.state is State.SUCCEEDED) != (charged > 0) and attempt.state in TERMINAL_STATES:
                found.append(f"{intent} is {attempt.state.value} and was charged {charged} times")
        return found
