"""Which request goes wrong, and how: by seed and rate, or by explicit rule.

Owns: the fault plan. Pure: the answer depends on the plan, the reference and how often it was tried, so that the same
seed gives the same faults in whatever order requests arrive. Must not know: HTTP, the store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any, Final

from tallystick.errors import ConfigurationError


class Fault(Enum):
    """What can go wrong with one POST of a charge."""

    TIMEOUT_AFTER_COMMIT = "timeout_after_commit"
    """Charged and stored; no answer comes, the connection is closed in the end."""
    TIMEOUT_BEFORE_COMMIT = "timeout_before_commit"
    """Not charged; the key is in flight until the connection is closed."""
    ERROR_500_STORED = "error_500_stored"
    """500, replayed under this key from now on. One in two was charged nevertheless."""
    ERROR_500_NOT_STORED = "error_500_not_stored"
    """500, nothing charged, nothing kept."""
    RATE_LIMIT_429 = "rate_limit_429"
    """429 with Retry-After 0, nothing charged, nothing kept."""
    SLOW = "slow"
    """The key is in flight for ``slow_ms``, then it is charged, whether or not somebody still waits."""
    IN_FLIGHT_409 = "in_flight_409"
    """The answer for a key that is in flight, though it is not; nothing charged, nothing kept."""
    OUTAGE_503 = "outage_503"
    """503 before anything is looked at; the key is not used up."""


@dataclass(slots=True)
class Rule:
    """The next ``times`` requests for ``reference`` (any, if None) meet ``fault``; ``skip`` of them pass first."""

    fault: Fault
    reference: str | None = None
    times: int = 1
    skip: int = 0


@dataclass(slots=True)
class FaultPlan:
    """Rates are shares of 1 and are drawn once for each request; ``declines`` once for each reference."""

    seed: int = 0
    rates: dict[Fault, float] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    declines: float = 0.0
    pending: float = 0.0
    """Share of references whose payment waits for its customer."""
    action_window_ms: int = 3_600_000
    """How long a customer may take; then the payment is cancelled."""
    hang_ms: int = 30_000
    slow_ms: int = 1_000
    outage_ms: int = 0
    """From when the plan was set on, so long every request is answered 503."""
    webhook_delay_ms: int = 0
    """The longest delay of a webhook, drawn for each delivery: what is drawn longer arrives later."""
    webhook_duplicates: float = 0.0
    """Share of webhooks that are delivered twice."""
    webhook_losses: float = 0.0
    """Share of webhooks that are never delivered."""

    def choose(self, reference: str, tries: int) -> Fault | None:
        """The fault for the request that is number ``tries`` (from 1) for ``reference``; uses up a rule."""
        for rule in self.rules:
            if rule.times > 0 and rule.reference in (None, reference):
                if rule.skip > 0:
                    rule.skip -= 1
                    continue
                rule.times -= 1
                return rule.fault
        drawn = share(self.seed, "fault", reference, str(tries))
        for fault in Fault:
            rate = self.rates.get(fault, 0.0)
            if drawn < rate:
                return fault
            drawn -= rate
        return None

    def declined(self, reference: str) -> bool:
        """Whether the card is refused."""
        return share(self.seed, "decline", reference) < self.declines

    def waits_for_customer(self, reference: str) -> bool:
        """Whether the customer has to act first."""
        return share(self.seed, "pending", reference) < self.pending

    def charged_despite_500(self, reference: str) -> bool:
        """Whether a stored 500 hides a charge."""
        return share(self.seed, "charged-500", reference) < 0.5


def share(seed: int, *parts: str) -> float:
    """A number in [0, 1), evenly spread, the same for the same arguments."""
    digest = hashlib.blake2b("\x1f".join((str(seed), *parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


_NUMBERS: Final = {
    "declines": float,
    "pending": float,
    "action_window_ms": int,
    "hang_ms": int,
    "slow_ms": int,
    "outage_ms": int,
    "webhook_delay_ms": int,
    "webhook_duplicates": float,
    "webhook_losses": float,
}


def plan_from(document: Mapping[str, Any], *, seed: int) -> FaultPlan:
    """A plan from JSON: fault names with their rates, ``rules``, and the numbers of ``FaultPlan``.

    Raises ``ConfigurationError`` naming the entry that is wrong.
    """
    plan = FaultPlan(seed=seed)
    for name, value in document.items():
        if name == "rules":
            plan.rules = [_rule(entry, place=f"rules[{index}]") for index, entry in enumerate(value)]
        elif name in _NUMBERS:
            setattr(plan, name, _number(value, place=name, kind=_NUMBERS[name]))
        else:
            plan.rates[_fault(name, place=name)] = _number(value, place=name, kind=float)
    if sum(plan.rates.values()) > 1 or plan.declines > 1:
        raise ConfigurationError(f"fault rates add up to {sum(plan.rates.values())}, declines to {plan.declines}: > 1")
    return plan


def parse_option(text: str, *, seed: int) -> FaultPlan:
    """The command line's ``--faults``: a JSON file, or ``name=rate,name=rate``."""
    if "=" not in text:
        path = Path(text)
        if not path.is_file():
            raise ConfigurationError(f"--faults {text!r} is neither name=rate nor a file")
        return plan_from(json.loads(path.read_text()), seed=seed)
    return plan_from(dict(part.split("=", 1) for part in text.split(",") if part), seed=seed)


def _rule(entry: Any, *, place: str) -> Rule:
    names = {item.name for item in fields(Rule)}
    if not isinstance(entry, dict) or "fault" not in entry or not names >= entry.keys():
        raise ConfigurationError(f"{place}: a rule has 'fault' and of {sorted(names)} what it needs, not {entry!r}")
    return Rule(
        fault=_fault(entry["fault"], place=place),
        reference=entry.get("reference"),
        times=_number(entry.get("times", 1), place=f"{place}.times", kind=int),
        skip=_number(entry.get("skip", 0), place=f"{place}.skip", kind=int),
    )


def _fault(name: Any, *, place: str) -> Fault:
    try:
        return Fault(name)
    except ValueError:
        known = ", ".join(fault.value for fault in Fault)
        raise ConfigurationError(f"{place}: no fault {name!r}; there are {known}") from None


def _number(value: Any, *, place: str, kind: type[Any]) -> Any:
    try:
        number = kind(value)
    except (TypeError, ValueError):
        raise ConfigurationError(f"{place}: {value!r} is no number") from None
    if number < 0:
        raise ConfigurationError(f"{place}: {value!r} is negative")
    return number
