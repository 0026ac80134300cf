"""The control interface as methods: faults, the clock, customers and banks, and the truth.

Owns: the calls over HTTP. Must not know: where the sandbox runs. Nothing of Tallystick's own code but tests and
demonstrations calls ``truth``: it is there to judge.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_CALL_TIMEOUT_S: Final = 30.0


class SandboxControl:
    """What a test does to a sandbox at ``host`` and ``port``."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The base URL, once started."""
        return f"http://{self.host}:{self.port}"

    def truth(self) -> dict[str, Any]:
        """What was really charged: ``GET /_sandbox/truth``."""
        return self._json("GET", "/_sandbox/truth")

    def set_faults(self, faults: Mapping[str, Any]) -> dict[str, Any]:
        """Replace the fault plan: ``POST /_sandbox/faults``."""
        return self._json("POST", "/_sandbox/faults", faults)

    def move_clock(self, *, by_ms: int) -> int:
        """Move the sandbox's clock forward; returns its new time in milliseconds."""
        return int(self._json("POST", "/_sandbox/clock", {"advance_ms": by_ms})["now_ms"])

    def send_webhooks(self, *endpoints: Mapping[str, str]) -> None:
        """Where webhooks go from now on: ``url``, ``api`` (stripe or adyen) and ``secret`` each."""
        self._json("POST", "/_sandbox/webhooks", {"endpoints": list(endpoints)})

    def complete_action(self, charge_id: str) -> dict[str, Any]:
        """The customer does what a pending payment waits for."""
        return self._json("POST", "/_sandbox/actions", {"id": charge_id, "do": "complete"})

    def fail_action(self, charge_id: str) -> dict[str, Any]:
        """The customer fails to."""
        return self._json("POST", "/_sandbox/actions", {"id": charge_id, "do": "fail"})

    def dispute(self, charge_id: str) -> dict[str, Any]:
        """The customer's bank takes a payment back."""
        return self._json("POST", "/_sandbox/disputes", {"charge": charge_id})

    def settlement(self) -> Path:
        """Write a settlement file of everything charged so far; returns its path in the data folder."""
        return Path(self._json("POST", "/_sandbox/settlement", {})["path"])

    def pay_out(self, *, currency: str = "usd") -> Path:
        """Pay the balance out; returns the path of the file with its movements."""
        return Path(self._json("POST", "/_sandbox/payouts", {"currency": currency})["path"])

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)  # noqa: S310  our own http URL
        if data is not None:
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=_CALL_TIMEOUT_S) as answer:  # noqa: S310
            document: dict[str, Any] = json.load(answer)
            return document
