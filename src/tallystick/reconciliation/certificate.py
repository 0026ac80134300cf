"""The completeness certificate: a JSON document that anyone can check without us.

Owns: its fields, its canonical form and its digest. Must not know: a clock; the date is an argument, so that the same
records and date give the same bytes.

Canonical form: UTF-8, keys sorted, no spaces, integers only. ``digest`` is the SHA-256 of that form without the
field ``digest``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final, Literal

from tallystick.errors import CorruptData
from tallystick.reconciliation.model import RULES_VERSION, Control, Matching
from tallystick.reconciliation.totals import ControlTotal, id_set_digest

FORMAT: Final = "tallystick-completeness-certificate/1"

Status = Literal["COMPLETE", "FAILED"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was reconciled as of a date, and whether every control held.

    ``COMPLETE`` only if all controls hold and no break is open; a certificate that is ``FAILED`` says which did not.
    """

    as_of: date
    status: Status
    totals: tuple[ControlTotal, ...]
    controls: tuple[Control, ...]
    matched: ControlTotal
    breaks: tuple[dict[str, Any], ...]
    excluded: int
    counts: tuple[tuple[str, int], ...]

    def document(self) -> dict[str, Any]:
        """The certificate as JSON values, with its digest."""
        body: dict[str, Any] = {
            "format": FORMAT,
            "rules_version": RULES_VERSION,
            "as_of": self.as_of.isoformat(),
            "status": self.status,
            "totals": [_total(one) for one in self.totals],
            "controls": [{**asdict(one), "holds": one.holds} for one in self.controls],
            "matched": _total(self.matched),
            "breaks": list(self.breaks),
            "excluded": self.excluded,
            "counts": dict(self.counts),
        }
        return {**body, "digest": digest_of(body)}

    def canonical(self) -> bytes:
        """The document's bytes: what is written, compared and signed."""
        return canonical_json(self.document())


def certify(
    *,
    as_of: date,
    totals: Sequence[ControlTotal],
    controls: Sequence[Control],
    matching: Matching,
    counts: Sequence[tuple[str, int]] = (),
) -> Certificate:
    """Draw up the certificate. It is FAILED when one control does not hold or one break is open."""
    complete = bool(controls) and all(control.holds for control in controls) and not matching.breaks
    sums: dict[str, int] = {}
    for one in matching.matches:
        sums[one.currency] = sums.get(one.currency, 0) + one.amount_minor
    matched = ControlTotal(
        stage="matched",
        count=len(matching.matches),
        sums_minor=tuple(sorted(sums.items())),
        digest=id_set_digest(one.id for one in matching.matches),
    )
    return Certificate(
        as_of=as_of,
        status="COMPLETE" if complete else "FAILED",
        totals=tuple(totals),
        controls=tuple(controls),
        matched=matched,
        breaks=tuple(
            {
                "id": one.id,
                "type": one.type.value,
                "members": list(one.members),
                "value_minor": one.value_minor,
                "currency": one.currency,
                "detail": one.detail,
            }
            for one in matching.breaks
        ),
        excluded=len(matching.exclusions),
        counts=tuple(counts),
    )


def canonical_json(document: dict[str, Any]) -> bytes:
    """The canonical bytes of a document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(body: dict[str, Any]) -> str:
    """SHA-256 of a document's canonical form, its ``digest`` field left out."""
    return hashlib.sha256(canonical_json({key: value for key, value in body.items() if key != "digest"})).hexdigest()


def verify_certificate(raw: bytes, *, place: str) -> dict[str, Any]:
    """The document in ``raw``, if its digest is its own; ``CorruptData`` names ``place`` if not."""
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise CorruptData(f"no certificate: {error}", place=place) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CorruptData("no certificate of a format known here", place=place)
    if document.get("digest") != digest_of(document):
        raise CorruptData("the certificate's digest is not its own: it was changed", place=place)
    return document


def _total(one: ControlTotal) -> dict[str, Any]:
    return {"stage": one.stage, "count": one.count, "sums_minor": dict(one.sums_minor), "digest": one.digest}
