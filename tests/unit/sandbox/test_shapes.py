"""Both shapes of the sandbox, address by address, without sockets; and what customers, banks and time do."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tallystick.clock import ManualClock
from tallystick.sandbox.answer import Answer
from tallystick.sandbox.api import Asked, SandboxApi
from tallystick.sandbox.faults import Fault, FaultPlan, Rule
from tallystick.sandbox.provider import SandboxProvider
from tallystick.sandbox.store import FILE_NAME, Store

DAY_MS = 86_400_000
START_MS = 1_700_000_000_000
PAYMENT = {
    "amount": {"value": 1000, "currency": "EUR"},
    "reference": "r-1",
    "merchantAccount": "Shop",
    "shopperReference": "s",
}
CHARGE = {"amount": 1000, "currency": "usd", "reference": "r-1", "customer": "c"}


@dataclass
class Client:
    """Asks a sandbox whose files are in ``folder``."""

    folder: Path
    clock: ManualClock = field(default_factory=lambda: ManualClock(start_ms=START_MS))

    def __post_init__(self) -> None:
        self.store = Store(self.folder, seed=1)
        self.provider = SandboxProvider(self.store, FaultPlan(seed=1), clock=self.clock, window_ms=DAY_MS)
        self.api = SandboxApi(self.provider, seed=1)

    def ask(self, method: str, path: str, body: Any = None, *, key: str = "", form: bool = False) -> Answer:
        headers = {"idempotency-key": key} if key else {}
        headers["content-type"] = "application/x-www-form-urlencoded" if form else "application/json"
        raw = b"" if body is None else urlencode(body).encode() if form else json.dumps(body).encode()
        path, _, query = path.partition("?")
        pairs = dict(part.split("=") for part in query.split("&") if part)
        return asyncio.run(self._ask(Asked(method, path, pairs, headers, raw)))

    async def _ask(self, asked: Asked) -> Answer:
        left = asyncio.Event().wait()
        try:
            return await self.api.handle(asked, left)  # type: ignore[arg-type]
        finally:
            left.close()

    def told(self, method: str, path: str, body: Any = None, *, key: str = "", status: int = 200) -> dict[str, Any]:
        answer = self.ask(method, path, body, key=key)
        assert answer.status == status, answer
        document: dict[str, Any] = json.loads(answer.body)
        return document

    def next_fault(self, fault: Fault) -> None:
        self.provider.plan.rules.append(Rule(fault))


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path / "sandbox")


@pytest.fixture(autouse=True)
def _closed(client: Client) -> Any:
    yield
    client.store.close()


# -- Stripe, version 2


def test_version_2_keeps_a_key_for_thirty_days(client: Client) -> None:
    first = client.told("POST", "/v2/charges", CHARGE, key="k")
    client.clock.advance(by_ms=30 * DAY_MS - 1)
    assert client.told("POST", "/v2/charges", CHARGE, key="k") == first
    client.clock.advance(by_ms=1)
    assert client.told("POST", "/v2/charges", CHARGE, key="k")["id"] != first["id"]


def test_version_2_brings_a_failed_request_to_its_end_when_it_comes_again(client: Client) -> None:
    for number in range(10):
        client.next_fault(Fault.ERROR_500_STORED)
        charge = {**CHARGE, "reference": f"r-{number}"}
        assert client.ask("POST", "/v2/charges", charge, key=f"k-{number}").status == 500
        assert client.told("POST", "/v2/charges", charge, key=f"k-{number}")["status"] == "succeeded"
    assert client.provider.truth()["charged_count"] == 10


def test_the_same_key_in_another_version_is_another_key(client: Client) -> None:
    client.told("POST", "/v2/charges", CHARGE, key="k")
    assert client.ask("POST", "/v1/charges", CHARGE, key="k").headers == ()
    assert client.provider.truth()["charged_count"] == 2


# -- Adyen


def test_a_payment_is_authorised_and_its_key_replays(client: Client) -> None:
    first = client.ask("POST", "/v71/payments", PAYMENT, key="k")
    assert json.loads(first.body)["resultCode"] == "Authorised"
    again = client.ask("POST", "/v71/payments", PAYMENT, key="k")
    assert (again.body, again.headers) == (first.body, (("idempotency-key", "k"),))


@pytest.mark.parametrize("key", ["", "x" * 65])
def test_adyens_keys_have_at_most_64_characters(client: Client, key: str) -> None:
    assert client.ask("POST", "/v71/payments", PAYMENT, key=key).status == 422
    assert client.provider.truth()["charged_count"] == 0


def test_adyens_keys_last_seven_days(client: Client) -> None:
    first = client.told("POST", "/v71/payments", PAYMENT, key="k")
    client.clock.advance(by_ms=7 * DAY_MS)
    assert client.told("POST", "/v71/payments", PAYMENT, key="k")["pspReference"] != first["pspReference"]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault.IN_FLIGHT_409, 422, "704"),
        (Fault.RATE_LIMIT_429, 429, "905_3"),
        (Fault.ERROR_500_NOT_STORED, 500, "901"),
        (Fault.OUTAGE_503, 503, "905"),
    ],
)
def test_faults_in_adyens_words(client: Client, fault: Fault, status: int, code: str) -> None:
    client.next_fault(fault)
    assert client.told("POST", "/v71/payments", PAYMENT, key="k", status=status)["errorCode"] == code
    assert client.told("POST", "/v71/payments", PAYMENT, key="k")["resultCode"] == "Authorised"
    assert client.provider.truth()["charged_count"] == 1


@pytest.mark.parametrize("change", [{"amount": {}}, {"amount": 5}, {"reference": ""}, {"merchantAccount": None}])
def test_a_malformed_payment_is_refused(client: Client, change: Mapping[str, Any]) -> None:
    assert client.told("POST", "/v71/payments", {**PAYMENT, **change}, key="k", status=422)["errorCode"] == "702"


def test_a_report_exists_once_its_day_is_over(client: Client) -> None:
    client.told("POST", "/v71/payments", PAYMENT, key="k")
    path = "/reports/download/MerchantAccount/Shop/received_payments_report_2023_11_14.csv"
    assert client.ask("GET", path).status == 404
    client.clock.advance(by_ms=DAY_MS)
    (row,) = csv.DictReader(io.StringIO(client.ask("GET", path).body.decode()))
    assert (row["Merchant Reference"], row["Amount"], row["Status"]) == ("r-1", "1000", "Authorised")
    assert client.ask("GET", path.replace("2023_11_14", "nonsense")).status == 404


def test_a_refund_of_a_payment_is_received_and_a_cancellation_ends_a_pending_one(client: Client) -> None:
    paid = client.told("POST", "/v71/payments", PAYMENT, key="k")["pspReference"]
    refund = {**PAYMENT, "reference": "back"}
    assert client.told("POST", f"/v71/payments/{paid}/refunds", refund, key="r", status=201)["status"] == "received"
    client.provider.plan.pending = 1.0
    waits = client.told("POST", "/v71/payments", {**PAYMENT, "reference": "r-2"}, key="p")
    assert waits["resultCode"] == "RedirectShopper"
    client.told("POST", f"/v71/payments/{waits['pspReference']}/cancels", {}, key="c", status=201)
    assert client.store.charges[waits["pspReference"]].status == "canceled"
    assert client.ask("POST", "/v71/payments/none/cancels", {}, key="c2").status == 422


# -- customers, banks, time


def pending(client: Client) -> str:
    client.provider.plan.pending = 1.0
    charge = client.told("POST", "/v1/charges", CHARGE, key="k")
    assert (charge["status"], charge["balance_transaction"]) == ("pending", None)
    return str(charge["id"])


@pytest.mark.parametrize(("does", "status"), [("complete", "succeeded"), ("fail", "failed")])
def test_a_customer_acts_once(client: Client, does: str, status: str) -> None:
    charge = pending(client)
    assert client.provider.truth()["charged_count"] == 0
    assert client.told("POST", "/_sandbox/actions", {"id": charge, "do": does})["status"] == status
    assert client.ask("POST", "/_sandbox/actions", {"id": charge, "do": does}).status == 400
    assert client.provider.truth()["charged_count"] == (status == "succeeded")


def test_a_customer_who_takes_too_long_has_not_paid(client: Client) -> None:
    charge = pending(client)
    client.clock.advance(by_ms=client.provider.plan.action_window_ms)
    assert client.told("GET", f"/v1/charges/{charge}")["status"] == "canceled"


def test_cancelling_ends_what_is_pending_and_shows_what_is_not(client: Client) -> None:
    charge = pending(client)
    for _ in range(2):
        assert client.told("POST", f"/v1/charges/{charge}/cancel")["status"] == "canceled"
    client.provider.plan.pending = 0.0
    paid = client.told("POST", "/v1/charges", CHARGE, key="l")["id"]
    assert client.told("POST", f"/v1/charges/{paid}/cancel")["status"] == "succeeded"
    assert client.ask("POST", "/v1/charges/none/cancel").status == 404


def test_refunds_never_exceed_their_charge(client: Client) -> None:
    charge = client.told("POST", "/v1/charges", CHARGE, key="k")["id"]
    for number, (amount, status) in enumerate([(600, 200), (401, 400), (400, 200), (1, 400)]):
        refund = {"charge": charge, "amount": amount, "reference": f"b-{number}"}
        assert client.ask("POST", "/v1/refunds", refund, key=f"r-{number}").status == status
    listed = client.told("GET", "/v1/refunds?limit=10")["data"]
    assert [refund["amount"] for refund in listed] == [400, 600]
    assert client.ask("POST", "/v1/refunds", {"charge": "none", "amount": 1, "reference": "x"}, key="z").status == 400


def test_settlement_and_payout_agree_with_what_moved(client: Client) -> None:
    charge = client.told("POST", "/v1/charges", {**CHARGE, "amount": 10_000}, key="k")["id"]
    client.told("POST", "/v1/refunds", {"charge": charge, "amount": 1_000, "reference": "b"}, key="r")
    client.told("POST", "/v1/charges", {**CHARGE, "reference": "r-2"}, key="l")
    second = next(each for each in client.store.charges.values() if each.reference == "r-2")
    client.told("POST", "/_sandbox/disputes", {"charge": second.id})
    assert [each["charge"] for each in client.told("GET", "/v1/disputes")["data"]] == [second.id]
    rows = list(csv.DictReader(io.StringIO(client.ask("GET", "/_sandbox/settlement").body.decode())))
    assert [(row["type"], row["amount_minor"], row["fee_minor"]) for row in rows] == [
        ("charge", "10000", "320"),
        ("refund", "-1000", "0"),
        ("charge", "1000", "59"),
        ("dispute", "-1000", "1500"),
    ]
    made = client.told("POST", "/_sandbox/payouts", {"currency": "usd"})
    assert made["amount_minor"] == sum(int(row["net_minor"]) for row in rows)
    lines = list(csv.DictReader(Path(made["path"]).read_text().splitlines()))
    assert sum(int(line["net_minor"]) for line in lines) == 0, "what came in went out"
    assert client.ask("POST", "/_sandbox/payouts", {"currency": "usd"}).status == 400, "there is nothing left"
    assert client.told("GET", "/_sandbox/payouts")["payouts"][0]["id"] == made["id"]


def test_an_outage_answers_503_everywhere_until_it_ends(client: Client) -> None:
    client.told("POST", "/_sandbox/faults", {"outage_ms": 1_000})
    assert client.ask("GET", "/v1/charges").status == 503
    assert client.ask("POST", "/v71/payments", PAYMENT, key="k").status == 503
    client.told("POST", "/_sandbox/clock", {"advance_ms": 1_000})
    assert client.ask("GET", "/v1/charges").status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", None, 404),
        ("DELETE", "/v1/charges", None, 404),
        ("POST", "/_sandbox/faults", [], 400),
        ("POST", "/_sandbox/actions", {"id": "x", "do": "dance"}, 400),
        ("POST", "/_sandbox/disputes", {"charge": "none"}, 400),
        ("POST", "/_sandbox/webhooks", {"endpoints": [{"url": "http://x"}]}, 400),
        ("POST", "/_sandbox/webhooks", {"endpoints": [{"url": "http://x", "api": "adyen", "secret": "no hex"}]}, 400),
    ],
)
def test_what_makes_no_sense_is_refused(client: Client, method: str, path: str, body: Any, status: int) -> None:
    assert client.ask(method, path, body).status == status


def test_the_files_of_another_format_are_refused(tmp_path: Path, client: Client) -> None:
    import sqlite3

    from tallystick.errors import ConfigurationError

    folder = tmp_path / "old"
    Store(folder, seed=1).close()
    old = sqlite3.connect(folder / FILE_NAME)
    old.execute("UPDATE setting SET value = 1 WHERE name = 'format_version'")
    old.commit()
    old.close()
    with pytest.raises(ConfigurationError, match="format 1"):
        Store(folder, seed=1)


# -- webhooks that go out


def test_webhooks_are_delayed_repeated_and_lost_by_the_seed(client: Client) -> None:
    endpoint = {"url": "http://x/hooks", "api": "stripe", "secret": "whsec_1"}
    client.told("POST", "/_sandbox/webhooks", {"endpoints": [endpoint]})
    client.told(
        "POST", "/_sandbox/faults", {"webhook_delay_ms": 10_000, "webhook_duplicates": 0.5, "webhook_losses": 0.2}
    )
    for number in range(50):
        client.told("POST", "/v1/charges", {**CHARGE, "reference": f"r-{number}"}, key=f"k-{number}")
    planned = list(client.api.webhooks.waiting)
    events = [delivery.event_id for delivery in planned]
    assert 30 < len(set(events)) < 50, "some are lost"
    assert len(events) > len(set(events)) + 10, "some come twice"
    due = [delivery.due_ms for delivery in planned]
    assert due != sorted(due), "some overtake others"
    assert client.api.webhooks.take_due(client.clock.now_ms() + 10_000) == sorted(planned, key=lambda each: each.due_ms)


def test_a_webhook_that_is_not_accepted_comes_again_later_and_not_for_ever(client: Client) -> None:
    client.told("POST", "/_sandbox/webhooks", {"endpoints": [{"url": "http://x", "api": "adyen", "secret": "00ff"}]})
    client.told("POST", "/v71/payments", PAYMENT, key="k")
    queue, times, now_ms = client.api.webhooks, 0, client.clock.now_ms()
    while queue.waiting:
        now_ms = queue.waiting[0].due_ms
        for delivery in queue.take_due(now_ms):
            times += 1
            queue.refused(delivery, now_ms=now_ms)
    assert (times, queue.given_up) == (20, 1)
