"""SASL from the client's side."""

from __future__ import annotations

import pytest

from tallystick.operate.authentication import AuthenticationFailed, exchange

NONCE = "rOprNGfwEbeRWgbNEkqO"
CHALLENGE = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"


def test_the_example_of_rfc_7677() -> None:
    tokens = exchange("SCRAM-SHA-256", "user", "pencil", nonce=NONCE)
    assert next(tokens) == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert tokens.send(CHALLENGE) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    with pytest.raises(StopIteration):
        tokens.send(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


def test_a_server_that_does_not_know_the_password_is_not_believed() -> None:
    tokens = exchange("SCRAM-SHA-256", "user", "pencil", nonce=NONCE)
    next(tokens)
    tokens.send(CHALLENGE)
    with pytest.raises(AuthenticationFailed, match="could not prove"):
        tokens.send(b"v=AAAA")


@pytest.mark.parametrize(
    "challenge",
    [
        b"r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        CHALLENGE.replace(b"i=4096", b"i=0"),
        CHALLENGE.replace(b"i=4096", b"i=1000000000"),
        CHALLENGE.replace(b"i=4096", b"i=many"),
        CHALLENGE.replace(b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s=?"),
        b"",
    ],
)
def test_a_challenge_that_is_no_answer_to_ours_is_refused(challenge: bytes) -> None:
    tokens = exchange("SCRAM-SHA-512", "user", "pencil", nonce=NONCE)
    next(tokens)
    with pytest.raises(AuthenticationFailed, match="challenge"):
        tokens.send(challenge)


def test_a_name_is_escaped_and_each_exchange_has_its_own_nonce() -> None:
    first, second = (next(exchange("SCRAM-SHA-256", "a=b,c", "p")) for _ in range(2))
    assert first.startswith(b"n,,n=a=3Db=2Cc,r=")
    assert first != second


def test_plain_sends_name_and_password_once() -> None:
    tokens = exchange("PLAIN", "user", "pencil")
    assert next(tokens) == b"\0user\0pencil"
    with pytest.raises(StopIteration):
        tokens.send(b"")
