"""An answer of the provider, before HTTP.

Owns: the value. Must not know: who gives it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; ``hang_up``: close the connection without one."""

    status: int = 0
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    hang_up: bool = False
    media_type: str = "application/json"


HANG_UP: Final = Answer(hang_up=True)


def json_bytes(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
