"""A payment provider inside the test: it answers every attempt as told, and writes the settlement it would write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from urllib.parse import parse_qs

from sqlalchemy import Engine

from tallystick.billing.charges import PROVIDER, on_outcome, on_suspense
from tallystick.boundary.effect_ledger import Attempt, EffectLedger
from tallystick.boundary.provider import Outcome, OutcomeKind, ProviderPolicy
from tallystick.clock import ManualClock
from tallystick.ledger.statement import COLUMNS
from tallystick.pipeline import Idempotent

POLICY = ProviderPolicy(
    name=PROVIDER,
    window_ms=86_400_000,
    margin_ms=600_000,
    timeout_ms=1_000,
    quiet_ms=1_000,
    repetition=Idempotent.BY_KEY,
)
FEE_MINOR = 30


def fee_of(amount_minor: int) -> int:
    return min(amount_minor, FEE_MINOR)


class FakeProvider:
    """Charges by intent; ``kind`` decides what the caller hears about each attempt."""

    def __init__(self, engine: Engine) -> None:
        self.ledger = EffectLedger(engine, clock=ManualClock(start_ms=1_000_000), on_suspense=on_suspense)
        self.charges: dict[str, tuple[int, str, str]] = {}

    def dispatch(self, kind: Callable[[Attempt], OutcomeKind] = lambda _: OutcomeKind.SUCCEEDED) -> int:
        """Claim, send and record everything that is due, once."""
        claimed = self.ledger.claim(provider=PROVIDER, owner="test", limit=10_000, lease_ms=10_000)
        sent = self.ledger.mark_sent(claimed, policy=POLICY, lease_ms=10_000)
        results = [(attempt, self._answer(attempt, kind(attempt))) for attempt in sent]
        self.ledger.record(results, on_outcome, retry_ms=0)
        return len(results)

    def settlement(self) -> list[str]:
        """The lines of the settlement file."""
        lines = [",".join(COLUMNS)]
        for number, (charge, (amount, currency, reference)) in enumerate(sorted(self.charges.items())):
            fee = fee_of(amount)
            money = f"{amount},{fee},{amount - fee},{currency.upper()}"
            lines.append(f"txn_{number},charge,{money},{charge},{reference},1700000000")
        return lines

    def _answer(self, attempt: Attempt, kind: OutcomeKind) -> Outcome:
        if kind in {OutcomeKind.DECLINED, OutcomeKind.ABSENT}:
            return Outcome(kind, code="card_declined")
        form = {name: values[0] for name, values in parse_qs(attempt.request.decode()).items()}
        charge = f"ch_{hashlib.sha256(attempt.provider_key.encode()).hexdigest()[:16]}"
        self.charges[charge] = (int(form["amount"]), form["currency"], form["reference"])
        if kind is OutcomeKind.UNKNOWN:  # it happened, and the answer is lost
            return Outcome(kind, code="timeout")
        return Outcome(
            kind, provider_object_id=charge, amount_minor=int(form["amount"]), currency=form["currency"].upper()
        )
