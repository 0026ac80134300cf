"""How long to pause before trying again: doubling, bounded, with full jitter.

Owns: the arithmetic. Pure: the random number comes in. Must not know: what is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """A pause drawn between 0 and ``base_ms`` doubled with each try, up to ``cap_ms``.

    Full jitter spreads callers that failed at the same moment over the whole pause: with any other, they come back
    together.
    """

    draw: Callable[[], float]
    base_ms: int = 500
    cap_ms: int = 32_000

    def delay_ms(self, tries: int) -> int:
        """The pause after ``tries`` failures before this one (from 0)."""
        ceiling = min(self.cap_ms, self.base_ms << min(tries, 32))
        return int(ceiling * self.draw())
