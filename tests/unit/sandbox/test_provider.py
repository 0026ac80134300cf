"""Stripe v1's idempotency semantics, and what each fault does to them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.unit.sandbox.conftest import FORM, WINDOW_MS, Shop

from tallystick.sandbox.faults import Fault, Rule
from tallystick.sandbox.provider import Answer

REPLAYED = ("Idempotent-Replayed", "true")


def document(answer: Answer) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(answer.body)
    return parsed


def next_fault(shop: Shop, fault: Fault) -> None:
    shop.provider.plan.rules.append(Rule(fault))


def test_a_charge_succeeds_with_its_fee(shop: Shop) -> None:
    answer = shop.charge("k", amount=1999)
    assert answer.status == 200
    charge = document(answer)
    assert (charge["status"], charge["amount"], charge["fee"], charge["reference"]) == ("succeeded", 1999, 88, "r-1")


def test_the_same_key_replays_the_same_bytes_and_charges_once(shop: Shop) -> None:
    first, again = shop.charge("k"), shop.charge("k")
    assert again == Answer(200, first.body, (REPLAYED,))
    assert first.headers == ()
    assert shop.charged_minor == [1000]


def test_another_key_is_another_charge(shop: Shop) -> None:
    assert document(shop.charge("k"))["id"] != document(shop.charge("l"))["id"]
    assert shop.charged_minor == [1000, 1000]


def test_other_parameters_under_the_same_key_are_an_error_and_charge_nothing(shop: Shop) -> None:
    shop.charge("k")
    answer = shop.charge("k", amount=1001)
    assert (answer.status, document(answer)["error"]["type"]) == (400, "idempotency_error")
    assert shop.charged_minor == [1000]


def test_a_key_is_kept_over_a_restart(shop: Shop) -> None:
    first = shop.charge("k")
    assert shop.reopen().charge("k") == Answer(200, first.body, (REPLAYED,))


def test_a_key_expires_and_then_executes_anew(shop: Shop) -> None:
    first = shop.charge("k")
    shop.clock.advance(by_ms=WINDOW_MS - 1)
    assert shop.charge("k").body == first.body
    shop.clock.advance(by_ms=1)
    assert shop.charge("k").body != first.body
    assert shop.charged_minor == [1000, 1000], "this is the danger that rule 32 is about"


def test_the_moved_clock_is_kept_over_a_restart(shop: Shop) -> None:
    shop.charge("k")
    shop.store.move_clock(WINDOW_MS)
    shop.reopen().charge("k")
    assert len(shop.reopen().charged_minor) == 2


def test_a_key_in_flight_is_409(shop: Shop) -> None:
    next_fault(shop, Fault.SLOW)
    shop.provider.plan.slow_ms = 50

    async def both() -> tuple[Answer, Answer]:
        slow = asyncio.create_task(shop.start("k"))
        await asyncio.sleep(0)
        return await shop.start("k"), await slow

    meanwhile, slow = asyncio.run(both())
    assert (meanwhile.status, slow.status) == (409, 200)
    assert shop.charged_minor == [1000]


@pytest.mark.parametrize("key", [None, "", "x" * 256])
def test_a_charge_without_a_usable_key_is_refused(shop: Shop, key: str | None) -> None:
    assert shop.charge(key).status == 400
    assert shop.charged_minor == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": "10.00"}, "amount"),
        ({"amount": "-5"}, "amount"),
        ({"currency": "us"}, "currency"),
        ({"reference": ""}, "reference"),
        ({"extra": "x"}, "extra"),
    ],
)
def test_a_malformed_request_names_the_parameter_and_keeps_no_key(
    shop: Shop, fields: dict[str, object], param: str
) -> None:
    answer = shop.charge("k", **fields)
    assert (answer.status, document(answer)["error"]["param"]) == (400, param)
    assert shop.charge("k").status == 200


def test_json_and_form_are_the_same_parameters(shop: Shop) -> None:
    first = shop.charge("k")
    body = json.dumps({"customer": "c-1", "reference": "r-1", "currency": "USD", "amount": 1000}).encode()

    async def as_json() -> Answer:
        left = asyncio.Event().wait()
        try:
            return await shop.provider.charge("k", body, "application/json", left)  # type: ignore[arg-type]
        finally:
            left.close()

    assert asyncio.run(as_json()) == Answer(200, first.body, (REPLAYED,))


def test_an_unreadable_body_is_refused(shop: Shop) -> None:
    async def send(body: bytes, content_type: str) -> int:
        left = asyncio.Event().wait()
        try:
            return (await shop.provider.charge("k", body, content_type, left)).status  # type: ignore[arg-type]
        finally:
            left.close()

    for body, content_type in [(b"\xff", FORM), (b"[]", "application/json"), (b"{", "application/json")]:
        assert asyncio.run(send(body, content_type)) == 400


# -- faults


def test_timeout_after_commit_has_charged_and_the_key_replays(shop: Shop) -> None:
    next_fault(shop, Fault.TIMEOUT_AFTER_COMMIT)
    shop.provider.plan.hang_ms = 1
    assert shop.charge("k").hang_up
    assert shop.charged_minor == [1000]
    again = shop.charge("k")
    assert (again.status, again.headers) == (200, (REPLAYED,))
    assert shop.charged_minor == [1000]


def test_timeout_before_commit_has_not_charged_and_is_in_flight_until_the_client_leaves(shop: Shop) -> None:
    next_fault(shop, Fault.TIMEOUT_BEFORE_COMMIT)

    async def both() -> tuple[Answer, Answer, Answer]:
        leaves = asyncio.Event()
        hanging = asyncio.create_task(shop.start("k", leaves=leaves))
        await asyncio.sleep(0)
        meanwhile = await shop.start("k")
        leaves.set()
        return meanwhile, await hanging, await shop.start("k")

    meanwhile, hanging, after = asyncio.run(both())
    assert (meanwhile.status, hanging.hang_up, after.status) == (409, True, 200)
    assert shop.charged_minor == [1000]


def test_a_stored_500_is_replayed_for_ever(shop: Shop) -> None:
    next_fault(shop, Fault.ERROR_500_STORED)
    first, again = shop.charge("k"), shop.charge("k")
    assert (first.status, first.headers) == (500, ())
    assert again == Answer(500, first.body, (REPLAYED,))


def test_a_stored_500_hides_a_charge_for_some_references_and_not_for_others(shop: Shop) -> None:
    for number in range(40):
        next_fault(shop, Fault.ERROR_500_STORED)
        shop.charge(f"k-{number}", reference=f"r-{number}")
    assert 5 < len(shop.charged_minor) < 35


def test_a_500_that_is_not_stored_has_not_charged_and_executes_anew(shop: Shop) -> None:
    next_fault(shop, Fault.ERROR_500_NOT_STORED)
    assert shop.charge("k").status == 500
    assert shop.charged_minor == []
    again = shop.charge("k")
    assert (again.status, again.headers) == (200, ())


def test_429_has_not_charged_and_executes_anew(shop: Shop) -> None:
    next_fault(shop, Fault.RATE_LIMIT_429)
    limited = shop.charge("k")
    assert (limited.status, limited.headers) == (429, (("Retry-After", "0"),))
    assert shop.charge("k").status == 200


def test_a_decline_is_stored_listed_and_moves_no_money(shop: Shop) -> None:
    shop.provider.plan.declines = 1.0
    declined = shop.charge("k")
    assert (declined.status, document(declined)["error"]["code"]) == (402, "card_declined")
    shop.provider.plan.declines = 0.0
    assert shop.charge("k") == Answer(402, declined.body, (REPLAYED,))
    assert shop.charged_minor == []
    (listed,) = document(shop.provider.listing({"reference": "r-1"}))["data"]
    assert (listed["status"], listed["fee"]) == ("failed", 0)


# -- reading


def test_a_charge_is_found_by_its_id(shop: Shop) -> None:
    charge = document(shop.charge("k"))
    assert document(shop.provider.retrieve(charge["id"])) == charge
    assert shop.provider.retrieve("ch_none").status == 404


def test_a_listing_pages_newest_first_without_gap_or_repeat(shop: Shop) -> None:
    ids = [document(shop.charge(f"k-{number}"))["id"] for number in range(7)]
    found: list[str] = []
    query = {"reference": "r-1", "limit": "3"}
    while True:
        page = document(shop.provider.listing(query))
        found += [item["id"] for item in page["data"]]
        if not page["has_more"]:
            break
        query["starting_after"] = found[-1]
    assert found == ids[::-1]


def test_a_listing_filters_by_reference_and_time(shop: Shop) -> None:
    shop.charge("k-1", reference="other")
    shop.charge("k-2")
    shop.clock.advance(by_ms=5_000)
    late = document(shop.charge("k-3"))
    since = str(late["created"])
    assert [item["id"] for item in document(shop.provider.listing({"created[gte]": since}))["data"]] == [late["id"]]
    assert len(document(shop.provider.listing({"reference": "r-1"}))["data"]) == 2
    assert len(document(shop.provider.listing({"created[lte]": str(late["created"] - 1)}))["data"]) == 2


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"starting_after": "ch_none"}])
def test_a_malformed_listing_is_refused(shop: Shop, query: dict[str, str]) -> None:
    assert shop.provider.listing(query).status == 400


def test_the_settlement_holds_every_charge_that_moved_money(shop: Shop) -> None:
    shop.charge("k-1", amount=1999, reference="a")
    shop.provider.plan.declines = 1.0
    shop.charge("k-2", reference="b")
    charge = next(iter(shop.store.charges.values()))
    lines = shop.store.write_settlement().read_text().splitlines()
    assert lines == [
        "id,type,amount_minor,fee_minor,net_minor,currency,reference,intent_reference,created",
        f"{charge.balance_transaction_id},charge,1999,88,1911,USD,{charge.id},a,1700000000",
    ]


def test_the_truth_counts_money_and_faults(shop: Shop) -> None:
    next_fault(shop, Fault.ERROR_500_NOT_STORED)
    shop.charge("k")
    shop.charge("k")
    shop.charge("k")
    truth = shop.provider.truth()
    assert (truth["charged_count"], truth["charged_minor"], truth["fee_minor"]) == (1, 1000, 59)
    assert truth["met"] == {"error_500_not_stored": 1, "replayed": 1}
