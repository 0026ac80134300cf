"""Webhooks that come in: signed, stored first, processed until done.

``signatures`` checks who sent it, ``formats`` reads what it says, ``store`` keeps it before anybody is told 2xx,
``endpoint`` is an ASGI application to mount, ``processor`` brings what is stored into the effect ledger.
"""

from __future__ import annotations

from tallystick.boundary.webhooks.endpoint import WebhookEndpoint
from tallystick.boundary.webhooks.formats import AdyenWebhook, StripeWebhook, WebhookEvent, WebhookFormat
from tallystick.boundary.webhooks.processor import WebhookProcessor
from tallystick.boundary.webhooks.signatures import BadSignature
from tallystick.boundary.webhooks.store import WebhookStore

__all__ = [
    "AdyenWebhook",
    "BadSignature",
    "StripeWebhook",
    "WebhookEndpoint",
    "WebhookEvent",
    "WebhookFormat",
    "WebhookProcessor",
    "WebhookStore",
]
