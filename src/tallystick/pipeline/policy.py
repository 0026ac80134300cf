"""What happens to a record that cannot be processed.

Owns: ``ErrorPolicy``. Must not know: how often a record has failed (``failures``), how a dead letter looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tallystick.errors import ConfigurationError


class OnFailure(Enum):
    """What to do with a record whose tries are used up."""

    DEAD_LETTER = "dead-letter"
    """Write it to the step's dead-letter topic, in the transaction that commits its offset, and go on."""

    STOP = "stop"
    """Abort and stop the worker: nothing is skipped, a person looks."""


@dataclass(frozen=True, slots=True)
class ErrorPolicy:
    """``tries`` is how often a record is tried in all before ``then`` (rule 18). Decoding is never tried again."""

    tries: int = 3
    then: OnFailure = OnFailure.DEAD_LETTER

    def __post_init__(self) -> None:
        if not 1 <= self.tries <= 1000:
            raise ConfigurationError(f"{self.tries} tries: 1 to 1000 are possible", rule=18)


DEAD_LETTER = ErrorPolicy()
STOP = ErrorPolicy(tries=1, then=OnFailure.STOP)
