"""A person who looks at bytes sees no card, no key, no password; and sees the rest."""

from __future__ import annotations

import json

import pytest

from tallystick.boundary.redaction import REDACTED, redacted


def test_a_form_keeps_its_shape_and_loses_its_secrets() -> None:
    shown = redacted(b"amount=100&card[number]=4242424242424242&card[cvc]=123&reference=r-1")
    assert "4242" not in shown
    assert "123" not in shown
    assert "amount=100" in shown
    assert "reference=r-1" in shown


def test_json_loses_secrets_at_any_depth() -> None:
    document = {"amount": 1, "paymentMethod": {"encryptedCardNumber": "x", "holderName": "A"}, "list": [{"token": "t"}]}
    shown = json.loads(redacted(json.dumps(document).encode()))
    assert shown == {
        "amount": 1,
        "paymentMethod": {"encryptedCardNumber": REDACTED, "holderName": REDACTED},
        "list": [{"token": REDACTED}],
    }


@pytest.mark.parametrize("text", ["pay 4242 4242 4242 4242 now", "4111-1111-1111-1111", '["5555555555554444"]'])
def test_a_card_number_anywhere_is_redacted(text: str) -> None:
    assert REDACTED in redacted(text.encode())


@pytest.mark.parametrize("text", ["1700000000000", "4242424242424241", "order 12345678901234567890"])
def test_other_long_numbers_stay(text: str) -> None:
    assert redacted(text.encode()) == text


def test_bytes_that_are_no_text_are_only_counted() -> None:
    assert redacted(b"\xff\xfe") == "[2 bytes that are no text]"
