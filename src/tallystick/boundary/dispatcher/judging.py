"""What a listing says about an attempt.

Owns: the verdict. Pure. Must not know: where the listing came from.
"""

from __future__ import annotations

from typing import Final

from tallystick.boundary.provider import LookUp, Outcome, OutcomeKind

_ORDER: Final = (OutcomeKind.SUCCEEDED, OutcomeKind.PENDING_ACTION, OutcomeKind.UNKNOWN, OutcomeKind.DECLINED)


def judge(look_up: LookUp, *, object_id: str | None = None) -> tuple[Outcome, tuple[Outcome, ...]]:
    """The attempt's outcome, and further successes that must not exist (rule 35).

    An incomplete listing says nothing, nor does one that misses ``object_id``, of which the provider has told us. Of
    several successes the oldest, which the provider lists last, is the attempt's; the others go into suspense.
    """
    if not look_up.complete:
        return Outcome(OutcomeKind.UNKNOWN, code="listing-incomplete"), ()
    if object_id is not None:
        own = [outcome for outcome in look_up.outcomes if outcome.provider_object_id == object_id]
        if not own:
            return Outcome(OutcomeKind.UNKNOWN, code="missing-from-listing"), ()
        return own[-1], _successes(look_up, but=own[-1])
    for kind in _ORDER:
        matching = [outcome for outcome in look_up.outcomes if outcome.kind is kind]
        if matching:
            return matching[-1], _successes(look_up, but=matching[-1])
    return Outcome(OutcomeKind.ABSENT, code="absent-from-listing"), ()


def _successes(look_up: LookUp, *, but: Outcome) -> tuple[Outcome, ...]:
    return tuple(
        outcome for outcome in look_up.outcomes if outcome.kind is OutcomeKind.SUCCEEDED and outcome is not but
    )
