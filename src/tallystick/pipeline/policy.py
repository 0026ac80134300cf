"""What happens to a record that cannot be processed.

Owns: ``ErrorPolicy`` and ``StoppedByPolicy``. Must not know: how often a record has failed (``failures``), how a dead
letter looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tallystick.errors import ConfigurationError, TallystickError


class OnFailure(Enum):
    """What to do with a record whose tries are used up."""

    DEAD_LETTER = "dead-letter"
    """Write it to the step's dead-letter topic, in the transaction that commits its offset, and go on."""

    STOP = "stop"
    """Abort and stop the worker: nothing is skipped, a person looks."""


class StoppedByPolicy(TallystickError):
    """A record used up its tries, and its step's policy is to stop: the worker ends, and is not started again.

    ``place`` is the record's ``topic-partition@offset``; ``cause`` is what the step raised. Nothing of the record's
    batch was committed.
    """

    def __init__(self, *, step: str, place: str, cause: BaseException) -> None:
        self.step = step
        self.place = place
        self.cause = cause
        super().__init__(
            f"step {step!r} cannot process {place}: {cause!r}. Its policy is to stop: correct the code and start "
            "again, or let such records become dead letters (ErrorPolicy(then=OnFailure.DEAD_LETTER), tallystick dlq)"
        )


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
