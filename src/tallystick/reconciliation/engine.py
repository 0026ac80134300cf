"""The match engine: our payments against the provider's settlement lines.

Owns: the rules, in their order. Pure and deterministic: the result depends on the records, not on their order. Must
not know: files, tables.

Rule ``exact-id-amount``: the provider's id of the charge is known on both sides, with the same gross amount and
currency. What is left is explained, each record once, by the first explanation that fits: duplicate, currency,
amount, fee, status, missing. No tolerance: a cent is a break.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from tallystick.ledger.facts import CAPTURED, Payment
from tallystick.ledger.statement import StatementLine
from tallystick.reconciliation.model import Break, BreakType, Exclusion, Match, Matching

EXACT: Final = "exact-id-amount"
CHARGE: Final = "charge"
_NOT_CHARGES: Final = {
    "payout": "a payout: held against the bank's statement, not against charges",
    "fee": "a fee of the provider that belongs to no charge",
}


def match(payments: Iterable[Payment], lines: Iterable[StatementLine]) -> Matching:
    """Match captures with charges of the settlement, by the provider's id of the charge.

    Every external line ends in exactly one of: a match, a break, an exclusion.
    """
    run = _Run()
    charges = run.exclude(sorted(lines, key=lambda line: (line.id, line.line_number)))
    run.pair(sorted(payments, key=lambda one: (one.reference, one.provider_object_id or "")), charges)
    return run.result()


class _Run:
    def __init__(self) -> None:
        self._matches: list[Match] = []
        self._breaks: list[Break] = []
        self._exclusions: list[Exclusion] = []

    def result(self) -> Matching:
        return Matching(
            matches=tuple(sorted(self._matches, key=lambda one: one.id)),
            breaks=tuple(sorted(self._breaks, key=lambda one: (one.type.value, one.id))),
            exclusions=tuple(sorted(self._exclusions, key=lambda one: one.external)),
        )

    def exclude(self, lines: Sequence[StatementLine]) -> dict[str, list[StatementLine]]:
        """Set aside what is no charge; the charges by the provider's id. A type unknown here is a break."""
        charges: dict[str, list[StatementLine]] = defaultdict(list)
        for line in lines:
            if line.type == CHARGE:
                charges[line.reference].append(line)
            elif line.type in _NOT_CHARGES:
                reason = _NOT_CHARGES[line.type]
                self._exclusions.append(Exclusion(line.id, reason, line.amount_minor, line.currency))
            else:
                self._break(BreakType.MISSING_INTERNAL, (), [line], f"no rule for a movement of type {line.type!r}")
        return charges

    def pair(self, payments: Sequence[Payment], charges: dict[str, list[StatementLine]]) -> None:
        by_object: dict[str, list[Payment]] = defaultdict(list)
        for payment in payments:
            if payment.status == CAPTURED and payment.provider_object_id:
                by_object[payment.provider_object_id].append(payment)
            elif payment.status == CAPTURED:
                self._break(BreakType.MISSING_EXTERNAL, [payment], (), "a capture without the provider's id")
        for reference, group in sorted(by_object.items()):
            self._one_charge(group, charges.pop(reference, []))
        by_intent = {payment.reference: payment for payment in payments}
        for _, left in sorted(charges.items()):
            self._unclaimed(by_intent.get(left[0].intent_reference), left)

    def _one_charge(self, payments: list[Payment], lines: list[StatementLine]) -> None:
        if not lines:
            for payment in payments:
                self._break(BreakType.MISSING_EXTERNAL, [payment], (), "captured in our books, not in the settlement")
            return
        if len(payments) > 1 or len(lines) > 1:
            told = f"{len(payments)} captures and {len(lines)} movements of one charge"
            self._break(BreakType.DUPLICATE, payments, lines, told)
            return
        payment, line = payments[0], lines[0]
        if payment.currency != line.currency:
            told = f"ours {payment.currency}, theirs {line.currency}"
            self._break(BreakType.CURRENCY, [payment], [line], told)
        elif payment.amount_minor != line.amount_minor:
            told = f"ours {payment.amount_minor}, theirs {line.amount_minor}"
            difference = abs(payment.amount_minor - line.amount_minor)
            self._break(BreakType.AMOUNT, [payment], [line], told, value_minor=difference)
        elif line.amount_minor - line.fee_minor != line.net_minor:
            told = f"gross {line.amount_minor} less fee {line.fee_minor} is not net {line.net_minor}"
            difference = abs(line.amount_minor - line.fee_minor - line.net_minor)
            self._break(BreakType.FEE, [payment], [line], told, value_minor=difference)
        elif payment.fee_minor is not None and payment.fee_minor != line.fee_minor:
            told = f"fee: ours {payment.fee_minor}, theirs {line.fee_minor}"
            difference = abs(payment.fee_minor - line.fee_minor)
            self._break(BreakType.FEE, [payment], [line], told, value_minor=difference)
        else:
            self._matches.append(Match(EXACT, payment.reference, line.id, line.amount_minor, line.currency))

    def _unclaimed(self, payment: Payment | None, lines: list[StatementLine]) -> None:
        """Movements of a charge whose provider id our captures do not have; ``payment`` is the intent they name."""
        if payment is None:
            self._break(BreakType.MISSING_INTERNAL, (), lines, "settled by the provider, unknown to our books")
        elif payment.status == CAPTURED:
            told = f"a second charge {lines[0].reference} for an intent captured as {payment.provider_object_id}"
            self._break(BreakType.DUPLICATE, (), lines, told, also=(payment.reference,))
        else:
            told = f"settled by the provider, {payment.status} in our books"
            self._break(BreakType.STATUS, [payment], lines, told)

    def _break(
        self,
        kind: BreakType,
        payments: Sequence[Payment],
        lines: Sequence[StatementLine],
        detail: str,
        *,
        value_minor: int | None = None,
        also: tuple[str, ...] = (),
    ) -> None:
        members = (*(one.reference for one in payments), *(one.id for one in lines), *also)
        sides = [sum(abs(one.amount_minor) for one in side) for side in (payments, lines)]
        value = max(sides) if value_minor is None else value_minor
        currency = (lines or payments)[0].currency
        self._breaks.append(Break(kind, members, value, currency, detail))
