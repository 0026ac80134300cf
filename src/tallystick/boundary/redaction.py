"""Request and response bytes as a person may see them: without what must not leave the database.

Owns: which names and numbers are secret. Pure. Must not know: where the bytes are from.

Redacted are fields whose names say that they hold a secret or a card, and any run of 13 to 19 digits that passes the
check of card numbers (ISO/IEC 7812, Luhn). Who needs the exact bytes reads them from the table, with its permissions.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

REDACTED: Final = "[redacted]"
_SECRET: Final = re.compile(
    r"card.?number|^number$|cvc|cvv|securitycode|password|passwd|secret|token|api.?key|authori[sz]ation|iban|"
    r"account.?number|^encrypted|holder.?name",
    re.IGNORECASE,
)
_DIGITS: Final = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")


def redacted(body: bytes) -> str:
    """The body as text; JSON and forms keep their shape, anything else is searched for card numbers."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"[{len(body)} bytes that are no text]"
    try:
        document = json.loads(text)
    except ValueError:
        return _form(text) or _cards(text)
    return json.dumps(_clean(document), separators=(",", ":"))


def _form(text: str) -> str | None:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        return None
    return urlencode([(name, _value(_last_name(name), value)) for name, value in pairs], safe="[]")


def _last_name(name: str) -> str:
    """Of ``card[number]`` the innermost."""
    return name.rstrip("]").rpartition("[")[2]


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _value(name, inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_clean(inner) for inner in value]
    return _cards(value) if isinstance(value, str) else value


def _value(name: str, value: Any) -> Any:
    return REDACTED if _SECRET.search(name) else _clean(value)


def _cards(text: str) -> str:
    return _DIGITS.sub(lambda found: REDACTED if _luhn(found[0]) else found[0], text)


def _luhn(text: str) -> bool:
    digits = [int(digit) for digit in reversed(text) if digit.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
