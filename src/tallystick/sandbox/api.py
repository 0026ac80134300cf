"""Every address of the sandbox, without sockets: a request in, an answer out.

Owns: the table of addresses and the control interface under ``/_sandbox``. Must not know: servers, connections. A test
that simulates a network calls ``handle`` itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tallystick.errors import ConfigurationError
from tallystick.sandbox.answer import Answer, json_bytes
from tallystick.sandbox.faults import plan_from
from tallystick.sandbox.provider import SandboxProvider
from tallystick.sandbox.stripe import document_of, error
from tallystick.sandbox.webhooks import WebhookQueue, endpoints_from

MAX_BODY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. Header names are in lower case; ``client_left`` ends when the client closes its connection."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def key(self) -> str | None:
        return self.headers.get("idempotency-key")

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    def document(self) -> dict[str, Any]:
        document = json.loads(self.body or b"{}")
        if not isinstance(document, dict):
            raise ConfigurationError("the body is no JSON object")
        return document


Handler = Callable[[Asked, Awaitable[None], tuple[str, ...]], Awaitable[Answer]]


class SandboxApi:
    """Both APIs and the control interface over one provider."""

    def __init__(self, provider: SandboxProvider, *, seed: int) -> None:
        self.provider = provider
        self.webhooks = WebhookQueue(seed)
        self._seed = seed
        provider.store.on_change = lambda charge: self.webhooks.changed(charge, provider.plan, now_ms=provider.now_ms())
        self._exact: dict[tuple[str, str], Handler] = {
            ("POST", "/v1/charges"): self._charge("v1"),
            ("GET", "/v1/charges"): self._listing("charge"),
            ("POST", "/v1/refunds"): self._refund("v1"),
            ("GET", "/v1/refunds"): self._listing("refund"),
            ("GET", "/v1/disputes"): self._listing("dispute"),
            ("POST", "/v2/charges"): self._charge("v2"),
            ("GET", "/v2/charges"): self._listing("charge"),
            ("POST", "/v2/refunds"): self._refund("v2"),
            ("GET", "/v2/refunds"): self._listing("refund"),
            ("POST", "/v71/payments"): self._payment,
            ("GET", "/_sandbox/truth"): self._truth,
            ("POST", "/_sandbox/faults"): self._set_faults,
            ("POST", "/_sandbox/clock"): self._move_clock,
            ("POST", "/_sandbox/webhooks"): self._set_webhooks,
            ("GET", "/_sandbox/webhooks"): self._see_webhooks,
            ("POST", "/_sandbox/settlement"): self._write_settlement,
            ("GET", "/_sandbox/settlement"): self._read_settlement,
            ("POST", "/_sandbox/payouts"): self._pay_out,
            ("GET", "/_sandbox/payouts"): self._see_payouts,
            ("POST", "/_sandbox/actions"): self._act,
            ("POST", "/_sandbox/disputes"): self._dispute,
        }
        self._patterns: list[tuple[str, re.Pattern[str], Handler]] = [
            ("GET", re.compile(r"/v[12]/(?:charges|refunds|disputes)/([^/]+)"), self._retrieve),
            ("POST", re.compile(r"/v[12]/charges/([^/]+)/cancel"), self._cancel),
            ("POST", re.compile(r"/v71/payments/([^/]+)/refunds"), self._adyen_refund),
            ("POST", re.compile(r"/v71/payments/([^/]+)/cancels"), self._adyen_cancel),
            ("GET", re.compile(r"/reports/download/MerchantAccount/([^/]+)/([^/]+)"), self._report),
        ]

    async def handle(self, asked: Asked, client_left: Awaitable[None]) -> Answer:
        """The answer to one request."""
        if len(asked.body) > MAX_BODY_BYTES:
            return error(413, "invalid_request_error", "The body is too large")
        control = asked.path.startswith("/_sandbox/")
        if self.provider.engine.is_out and not control:
            return error(503, "api_error", "This service is not available")
        handler, parts = self._found(asked)
        if handler is None:
            return error(404, "invalid_request_error", f"No such address: {asked.method} {asked.path}")
        if not control:
            return await handler(asked, client_left, parts)
        try:
            return await handler(asked, client_left, parts)
        except (ValueError, ConfigurationError) as wrong:
            return error(400, "invalid_request_error", str(wrong))

    def _found(self, asked: Asked) -> tuple[Handler | None, tuple[str, ...]]:
        exact = self._exact.get((asked.method, asked.path))
        if exact is not None:
            return exact, ()
        for method, pattern, handler in self._patterns:
            matched = pattern.fullmatch(asked.path) if method == asked.method else None
            if matched is not None:
                return handler, matched.groups()
        return None, ()

    # -- Stripe's shape

    def _charge(self, version: str) -> Handler:
        async def handler(asked: Asked, left: Awaitable[None], _: tuple[str, ...]) -> Answer:
            return await self.provider.stripe.create_charge(
                asked.key, asked.body, asked.content_type, left, version=version
            )

        return handler

    def _refund(self, version: str) -> Handler:
        async def handler(asked: Asked, left: Awaitable[None], _: tuple[str, ...]) -> Answer:
            return await self.provider.stripe.create_refund(
                asked.key, asked.body, asked.content_type, left, version=version
            )

        return handler

    def _listing(self, kind: str) -> Handler:
        async def handler(asked: Asked, _left: Awaitable[None], _: tuple[str, ...]) -> Answer:
            return self.provider.listing(dict(asked.query), kind=kind)

        return handler

    async def _retrieve(self, _asked: Asked, _left: Awaitable[None], parts: tuple[str, ...]) -> Answer:
        return self.provider.retrieve(parts[0])

    async def _cancel(self, _asked: Asked, _left: Awaitable[None], parts: tuple[str, ...]) -> Answer:
        return self.provider.cancel(parts[0])

    # -- Adyen's shape

    async def _payment(self, asked: Asked, left: Awaitable[None], _: tuple[str, ...]) -> Answer:
        return await self.provider.adyen.create_payment(asked.key, asked.body, left)

    async def _adyen_refund(self, asked: Asked, left: Awaitable[None], parts: tuple[str, ...]) -> Answer:
        return await self.provider.adyen.refund(parts[0], asked.key, asked.body, left)

    async def _adyen_cancel(self, asked: Asked, left: Awaitable[None], parts: tuple[str, ...]) -> Answer:
        self.provider.expire()
        return await self.provider.adyen.cancel(parts[0], asked.key, left)

    async def _report(self, _asked: Asked, _left: Awaitable[None], parts: tuple[str, ...]) -> Answer:
        self.provider.expire()
        return self.provider.adyen.report(parts[0], parts[1])

    # -- control

    async def _truth(self, _asked: Asked, _left: Awaitable[None], _: tuple[str, ...]) -> Answer:
        self.provider.expire()
        return _told(self.provider.truth())

    async def _set_faults(self, asked: Asked, _left: Awaitable[None], _: tuple[str, ...]) -> Answer:
        self.provider.plan = plan_from(asked.document(), seed=self._seed)
        return _told({"ok": True})

    async def _move_clock(self, asked: Asked, _left: Awaitable[None], _: tuple[str, ...]) -> Answer:
        advance_ms = asked.document().get("advance_ms")
        if not isinstance(advance_ms, int) or advance_ms < 0:
            raise ConfigurationError("advance_ms is a whole number from 0")
        self.provider.store.move_clock(advance_ms)
        return _told({"now_ms": self.provider.now_ms()})

    async def _set_webhooks(self, asked: Asked, _left: Awaitable[None], _: tuple[str, ...]) -> Answer:
        entries = asked.document().get("endpoints")
        if not isinstance(entries, list):
            raise ConfigurationError("endpoints is a list")
        self.webhooks.endpoints = endpoints_from(entries)
        return _told({"endpoints": len(self.webhooks.endpoints)})

    async def _see_webhooks(self, _asked: Asked, _left: Awaitable[None], _: tuple[str, ...]) -> Answer:
        return _told({"waiting": len(self.webhooks.waiting), "given_up": self.webhooks.given_up})

    async def _write_settlement(self, _asked: Asked, _left: Awaitable[None], _: tuple[str, ...]) -> Answer:
        path = self.provider.store.write_settlement()
        return _told({"path": str(path.resolve()), "rows": path.read_text().count("\n") - 1})

    async def _read_settlement(self, _asked: Asked, _left: Awaitable[None], _: tuple[str, ...]) -> Answer:
        return Answer(200, self.provider.store.settlement_csv().encode(), media_type="text/csv")

    async def _pay_out(self, asked: Asked, _left: Awaitable[None], _: tuple[str, ...]) -> Answer:
        currency = str(asked.document().get("currency", "usd")).lower()
        made = self.provider.store.pay_out(currency=currency, now_ms=self.provider.now_ms())
        if made is None:
            raise ConfigurationError(f"there is no balance in {currency} to pay out")
        payout, path = made
        return _told({"id": payout.id, "amount_minor": payout.amount_minor, "path": str(path.resolve())})

    async def _see_payouts(self, _asked: Asked, _left: Awaitable[None], _: tuple[str, ...]) -> Answer:
        return _told(
            {
                "payouts": [
                    {"id": each.id, "amount_minor": each.amount_minor, "currency": each.currency}
                    for each in self.provider.store.payouts()
                ]
            }
        )

    async def _act(self, asked: Asked, _left: Awaitable[None], _: tuple[str, ...]) -> Answer:
        document = asked.document()
        if document.get("do") not in ("complete", "fail"):
            raise ConfigurationError("do is complete or fail")
        changed = self.provider.act(str(document.get("id")), completes=document["do"] == "complete")
        return _told(document_of(changed))

    async def _dispute(self, asked: Asked, _left: Awaitable[None], _: tuple[str, ...]) -> Answer:
        return _told(document_of(self.provider.dispute(str(asked.document().get("charge")))))


def _told(document: dict[str, Any]) -> Answer:
    return Answer(200, json_bytes(document))
