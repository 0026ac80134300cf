"""Only who knows the secret gets a webhook stored, and only while it is fresh."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from tallystick.boundary.webhooks.signatures import (
    TOLERANCE_MS,
    BadSignature,
    sign_adyen,
    sign_stripe,
    verify_adyen,
    verify_stripe,
)
from tallystick.errors import ConfigurationError

BODY = b'{"id":"evt_1"}'
NOW_MS = 1_700_000_000_000
KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
ITEM = {
    "pspReference": "7914073381342284",
    "merchantAccountCode": "TestMerchant",
    "merchantReference": "TestPayment-1407325143704",
    "amount": {"value": 1130, "currency": "EUR"},
    "eventCode": "AUTHORISATION",
    "success": "true",
}


def test_the_scheme_of_stripe_stays_what_it_is() -> None:
    # echo -n '1700000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_1
    header = sign_stripe(BODY, "whsec_1", at_ms=NOW_MS)
    assert header == "t=1700000000,v1=86d9cb9088d7cce050b0134e2d515d0fc05e8c00073612d3451480c6291f4dcd"
    verify_stripe(BODY, header, ["whsec_1"], now_ms=NOW_MS)


def test_the_scheme_of_adyen_is_that_of_its_documentation() -> None:
    """The example that Adyen's libraries are tested with."""
    assert sign_adyen(ITEM, KEY) == "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="


@pytest.mark.parametrize(
    "header",
    ["", "t=1700000000", "v1=00", "t=x,v1=00", "t=1700000000,t=1700000000,v1=00", "t=-1,v1=0", "t=1700000000,v0=00"],
)
def test_a_malformed_header_is_refused(header: str) -> None:
    with pytest.raises(BadSignature):
        verify_stripe(BODY, header, ["whsec_1"], now_ms=NOW_MS)


def test_while_a_secret_is_changed_either_fits() -> None:
    old = sign_stripe(BODY, "old", at_ms=NOW_MS)
    both = old + ",v1=" + sign_stripe(BODY, "new", at_ms=NOW_MS).partition("v1=")[2]
    verify_stripe(BODY, old, ["new", "old"], now_ms=NOW_MS)
    verify_stripe(BODY, both, ["new"], now_ms=NOW_MS)
    with pytest.raises(BadSignature):
        verify_stripe(BODY, old, ["new"], now_ms=NOW_MS)


@pytest.mark.parametrize("later_ms", [TOLERANCE_MS + 1, -TOLERANCE_MS - 1])
def test_an_old_signature_is_a_replay(later_ms: int) -> None:
    header = sign_stripe(BODY, "whsec_1", at_ms=NOW_MS)
    with pytest.raises(BadSignature, match="too old"):
        verify_stripe(BODY, header, ["whsec_1"], now_ms=NOW_MS + later_ms)


@given(strategies.binary(max_size=60), strategies.integers(0, 59), strategies.integers(1, 255))
def test_no_changed_byte_passes(body: bytes, place: int, change: int) -> None:
    header = sign_stripe(body, "whsec_1", at_ms=NOW_MS)
    changed = bytearray(body)
    if place < len(changed):
        changed[place] ^= change
    else:
        changed.append(change)
    with pytest.raises(BadSignature):
        verify_stripe(bytes(changed), header, ["whsec_1"], now_ms=NOW_MS)


@pytest.mark.parametrize("field", ["pspReference", "merchantReference", "eventCode", "success"])
def test_no_changed_field_of_adyen_passes(field: str) -> None:
    signed = {**ITEM, "additionalData": {"hmacSignature": sign_adyen(ITEM, KEY)}}
    verify_adyen(signed, [KEY])
    with pytest.raises(BadSignature):
        verify_adyen({**signed, field: "other"}, [KEY])
    with pytest.raises(BadSignature):
        verify_adyen({**signed, "amount": {"value": 113, "currency": "EUR"}}, [KEY])
    with pytest.raises(BadSignature):
        verify_adyen(ITEM, [KEY])


@pytest.mark.parametrize("key", ["no hex", "00ff"])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError):
        sign_adyen(ITEM, key)
