"""Drives the effect ledger against a provider: claim, commit SENT, send, record.

``dispatcher`` is what programs hold; ``session`` is one run of it; ``judging`` reads listings; ``breaker`` and
``pacing`` decide how much may be sent now, and are pure; ``sql_worker`` keeps SQL off the event loop.
"""

from __future__ import annotations

from tallystick.boundary.dispatcher.breaker import BreakerPolicy
from tallystick.boundary.dispatcher.dispatcher import DispatchReport, EffectDispatcher
from tallystick.boundary.dispatcher.judging import judge

__all__ = ["BreakerPolicy", "DispatchReport", "EffectDispatcher", "judge"]
