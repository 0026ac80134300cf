"""A certificate says COMPLETE only when everything holds, and can be checked by anyone."""

from __future__ import annotations

import hashlib
import json
from datetime import date

import pytest
from tests.unit.reconciliation.records import line, payment

from tallystick.errors import CorruptData
from tallystick.ledger.facts import Fact
from tallystick.reconciliation.certificate import Certificate, certify, verify_certificate
from tallystick.reconciliation.engine import match
from tallystick.reconciliation.model import Control, Matching
from tallystick.reconciliation.totals import ControlTotal, id_set_digest

AS_OF = date(1998, 6, 30)
HOLDS = Control("equal", "1", "1")
FAILS = Control("unequal", "1", "2")
NOTHING = Matching((), (), ())
MATCHED = match([payment("a")], [line("a")])
BROKEN = match([payment("a")], [])


def certificate(controls: list[Control], matching: Matching = MATCHED) -> Certificate:
    totals = [ControlTotal.of("stage", [Fact("x", 5, "USD"), Fact("y", 7, "EUR")])]
    return certify(as_of=AS_OF, totals=totals, controls=controls, matching=matching, counts=[("lines", 2)])


def test_all_controls_and_no_break_make_it_complete() -> None:
    assert certificate([HOLDS]).status == "COMPLETE"


@pytest.mark.parametrize(
    ("controls", "matching"), [([HOLDS, FAILS], MATCHED), ([HOLDS], BROKEN), ([], MATCHED), ([FAILS], NOTHING)]
)
def test_one_failed_control_one_break_or_no_control_at_all_make_it_failed(
    controls: list[Control], matching: Matching
) -> None:
    assert certificate(controls, matching).status == "FAILED"


def test_the_same_facts_give_the_same_bytes_and_the_date_is_an_argument() -> None:
    assert certificate([HOLDS]).canonical() == certificate([HOLDS]).canonical()
    document = json.loads(certificate([HOLDS]).canonical())
    assert document["as_of"] == "1998-06-30"
    assert document["digest"] == "678ee7f37b7bf6a551c3bfdb7b25ac3c17124d29ee611be23cb3ae7a6c73d490"


def test_the_digest_is_that_of_the_rest_in_canonical_form() -> None:
    document = json.loads(certificate([HOLDS]).canonical())
    told = document.pop("digest")
    raw = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert told == hashlib.sha256(raw).hexdigest()


def test_a_changed_certificate_does_not_verify() -> None:
    raw = certificate([FAILS]).canonical()
    assert verify_certificate(raw, place="here")["status"] == "FAILED"
    with pytest.raises(CorruptData, match="was changed at here"):
        verify_certificate(raw.replace(b"FAILED", b"COMPLETE"), place="here")
    with pytest.raises(CorruptData, match="no certificate"):
        verify_certificate(b"{}", place="here")
    with pytest.raises(CorruptData, match="no certificate"):
        verify_certificate(b"\xff", place="here")


def test_the_digest_of_ids_is_what_sort_and_sha256sum_give() -> None:
    assert id_set_digest(["b", "a", "a"]) == hashlib.sha256(b"a\nb\n").hexdigest()
    assert id_set_digest([]) == hashlib.sha256(b"").hexdigest()


def test_a_total_counts_a_fact_that_stands_twice_twice() -> None:
    total = ControlTotal.of("s", [Fact("a", 5, "USD"), Fact("a", 5, "USD"), Fact("b", -1, "EUR")])
    assert (total.count, total.sums_minor) == (3, (("EUR", -1), ("USD", 10)))
