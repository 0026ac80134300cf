"""One reconciliation, three ways: topics, books, settlement.

Owns: the order of the checks, and turning evidence into controls. Pure. Must not know: where the evidence came from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from tallystick.errors import ConfigurationError
from tallystick.ledger.facts import CAPTURED, UNKNOWN, Evidence, Fact, Hold, Payment
from tallystick.ledger.statement import StatementLine
from tallystick.reconciliation.certificate import Certificate, certify
from tallystick.reconciliation.engine import CHARGE, match
from tallystick.reconciliation.model import Control, Matching
from tallystick.reconciliation.totals import ControlTotal

CAPTURES: Final = "books: captures by the provider's id"
SETTLED: Final = "settlement: charges"


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The result: totals and controls, matches and breaks, the payments at risk, and the certificate."""

    totals: tuple[ControlTotal, ...]
    controls: tuple[Control, ...]
    matching: Matching
    at_risk: tuple[Payment, ...]
    certificate: Certificate


def reconcile(evidence: Evidence, statement: Sequence[StatementLine], *, as_of: date) -> Reconciliation:
    """Hold topics against books and books against the settlement file.

    The controls: each comparison and equation of the evidence, no finding, captures equal to settled charges by id
    and amount, every line of the statement explained exactly once, and no payment with an unknown outcome.
    """
    captures = ControlTotal.of(CAPTURES, _captures(evidence.payments))
    settled = ControlTotal.of(
        SETTLED, (Fact(one.reference, one.amount_minor, one.currency) for one in statement if one.type == CHARGE)
    )
    totals = (*(ControlTotal.of(stage.name, stage.facts) for stage in evidence.stages), captures, settled)
    by_stage = {total.stage: total for total in totals}
    if len(by_stage) != len(totals):
        raise ConfigurationError(f"two stages of one name: {sorted(total.stage for total in totals)}")
    matching = match(evidence.payments, statement)
    at_risk = tuple(payment for payment in evidence.payments if payment.status == UNKNOWN)
    controls = (
        *(_compare(by_stage, one.left, one.right, one.hold) for one in evidence.comparisons),
        *(Control(one.name, str(one.expected), str(one.actual)) for one in evidence.equations),
        _compare(by_stage, CAPTURES, SETTLED, Hold.SET),
        Control("no invariant of the books is violated", "none", "; ".join(evidence.findings) or "none"),
        Control("no payment has an unknown outcome", "0", str(len(at_risk))),
        _every_line_once(statement, matching),
    )
    certificate = certify(as_of=as_of, totals=totals, controls=controls, matching=matching, counts=evidence.counts)
    return Reconciliation(totals, controls, matching, at_risk, certificate)


def _captures(payments: Iterable[Payment]) -> Iterable[Fact]:
    for one in payments:
        if one.status == CAPTURED:
            yield Fact(one.provider_object_id or f"(none) {one.reference}", one.amount_minor, one.currency)


def _compare(by_stage: Mapping[str, ControlTotal], left: str, right: str, hold: Hold) -> Control:
    sides = []
    for name in (left, right):
        if name not in by_stage:
            raise ConfigurationError(f"a comparison names the stage {name!r}, of which there is no evidence")
        sides.append(_text(by_stage[name], hold))
    return Control(f"{left} = {right} ({hold.value})", *sides)


def _text(total: ControlTotal, hold: Hold) -> str:
    sums = ", ".join(f"{minor} {currency}" for currency, minor in total.sums_minor if minor) or "0"
    return sums if hold is Hold.SUM else f"{total.count}: {sums}, ids {total.digest}"


def _every_line_once(statement: Sequence[StatementLine], matching: Matching) -> Control:
    lines = [line.id for line in statement]
    explained = Counter([one.external for one in matching.matches] + [one.external for one in matching.exclusions])
    explained.update(member for one in matching.breaks for member in set(one.members) & set(lines))
    unexplained = len(set(lines) - set(explained))
    twice = sum(1 for times in explained.values() if times > 1)
    return Control(
        "every settlement line is matched, in a break, or excluded",
        "0 unexplained, 0 explained twice",
        f"{unexplained} unexplained, {twice} explained twice",
    )
