"""How many requests a provider's rate limit leaves for now: a token bucket, and the pause that a 429 asks for.

Owns: the arithmetic. Pure: time comes in. Must not know: what a request is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tallystick.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most ``per_s`` requests a second, and ``burst`` at once."""

    per_s: int
    burst: int

    def __post_init__(self) -> None:
        if self.per_s < 1 or self.burst < 1:
            raise ConfigurationError(f"a rate limit of {self.per_s}/s with a burst of {self.burst} sends nothing")


@dataclass(frozen=True, slots=True)
class Pace:
    """The bucket, in thousandths of a request, so that no fraction is lost. ``limit`` None: no limit of ours."""

    limit: RateLimit | None
    millis: int
    at_ms: int
    paused_until_ms: int = 0

    @classmethod
    def start(cls, limit: RateLimit | None, now_ms: int) -> Pace:
        return cls(limit, 0 if limit is None else limit.burst * 1_000, now_ms)

    def at(self, now_ms: int) -> Pace:
        """The bucket, filled up to ``now_ms``."""
        if self.limit is None:
            return self
        gained = max(0, now_ms - self.at_ms) * self.limit.per_s
        return replace(self, millis=min(self.limit.burst * 1_000, self.millis + gained), at_ms=max(now_ms, self.at_ms))

    def permits(self, now_ms: int) -> int | None:
        """Requests that may go now; None: as many as there are. ``at`` comes first."""
        if now_ms < self.paused_until_ms:
            return 0
        return None if self.limit is None else self.millis // 1_000

    def take(self, count: int) -> Pace:
        return self if self.limit is None else replace(self, millis=max(0, self.millis - count * 1_000))

    def pause(self, until_ms: int) -> Pace:
        """The provider said 429 with Retry-After: nobody sends until then."""
        return replace(self, paused_until_ms=max(self.paused_until_ms, until_ms))
