"""SCRAM against the examples in the RFCs, against librdkafka's side written out here, and against whoever cheats."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from tallystick.broker.security.mechanism import AuthenticationFailed
from tallystick.broker.security.principal import user
from tallystick.broker.security.scram import ScramCredential, ScramMechanism, ScramServer, derive, is_password

SALT = b"some salt of the server"


class Client:
    """The other side, by RFC 5802, section 3, as straight as it can be written."""

    def __init__(self, mechanism: ScramMechanism, name: str, password: str, *, header: str = "n,,") -> None:
        self.digest = mechanism.digest
        self.name, self.password, self.header = name, password, header
        self.bare = f"n={name.replace('=', '=3D').replace(',', '=2C')},r=client-nonce"

    def first(self) -> bytes:
        return (self.header + self.bare).encode()

    def final(self, server_first: bytes) -> bytes:
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        salted = hashlib.pbkdf2_hmac(
            self.digest, self.password.encode(), base64.b64decode(fields["s"]), int(fields["i"])
        )
        client_key = hmac.digest(salted, b"Client Key", self.digest)
        without_proof = f"c={base64.b64encode(self.header.encode()).decode()},r={fields['r']}"
        self.signed = f"{self.bare},{server_first.decode()},{without_proof}".encode()
        signature = hmac.digest(hashlib.new(self.digest, client_key).digest(), self.signed, self.digest)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self.server_key = hmac.digest(salted, b"Server Key", self.digest)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def is_the_server(self, server_final: bytes) -> bool:
        return server_final == b"v=" + base64.b64encode(hmac.digest(self.server_key, self.signed, self.digest))


def server(mechanism: ScramMechanism, users: dict[str, str]) -> ScramServer:
    held = {name: derive(mechanism, password, salt=SALT, iterations=4096) for name, password in users.items()}
    return ScramServer(mechanism, held.get, nonce="server-nonce", decoy_key=b"k" * 32)


@pytest.mark.parametrize("mechanism", ScramMechanism)
@pytest.mark.parametrize("name", ["alice", "a,b=c", "Zoë"])
def test_who_knows_the_password_is_let_in_and_learns_that_the_server_knows_it_too(
    mechanism: ScramMechanism, name: str
) -> None:
    client, exchange = Client(mechanism, name, "pässword"), server(mechanism, {name: "pässword"})
    first = exchange.step(client.first())
    assert first.principal is None
    last = exchange.step(client.final(first.token))
    assert last.principal == user(name)
    assert client.is_the_server(last.token)


def test_the_example_of_rfc_7677_verifies() -> None:
    credential = derive(
        ScramMechanism.SCRAM_SHA_256, "pencil", salt=base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), iterations=4096
    )
    exchange = ScramServer(
        ScramMechanism.SCRAM_SHA_256,
        {"user": credential}.get,
        nonce="%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        decoy_key=b"",
    )
    first = exchange.step(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert first.token == b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    last = exchange.step(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert last.token == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert last.principal == user("user")


@pytest.mark.parametrize("mechanism", ScramMechanism)
def test_a_wrong_password_and_an_unknown_name_fail_in_the_same_place_with_the_same_words(
    mechanism: ScramMechanism,
) -> None:
    words = set()
    for name, password in (("alice", "wrong"), ("mallory", "right")):
        client, exchange = Client(mechanism, name, password), server(mechanism, {"alice": "right"})
        first = exchange.step(client.first()).token
        assert first.startswith(b"r=client-nonceserver-nonce,s=")
        with pytest.raises(AuthenticationFailed) as refused:
            exchange.step(client.final(first))
        words.add(refused.value.reason)
    assert words == {None}


def test_the_salt_of_an_unknown_name_does_not_change_and_differs_between_names() -> None:
    def salt(name: str) -> bytes:
        exchange = server(ScramMechanism.SCRAM_SHA_256, {})
        return exchange.step(Client(ScramMechanism.SCRAM_SHA_256, name, "").first()).token

    assert salt("nobody") == salt("nobody") != salt("no-one")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xfe",
        b"n,,",
        b"n,,n=alice",
        b"n,,r=nonce",
        b"x,,n=alice,r=nonce",
        b"p=tls-unique,,n=alice,r=nonce",
        b"n,a=bob,n=alice,r=nonce",
        b"n,,m=must,n=alice,r=nonce",
        b"n,,n=al=ice,r=nonce",
        b"n,,n=alice,r=no\nce",
        b"n,,n=alice,r=nonce,tokenauth=true",
        b"n,,n=" + b"a" * 9_000 + b",r=nonce",
    ],
)
def test_a_first_message_that_is_no_good_is_refused(message: bytes) -> None:
    with pytest.raises(AuthenticationFailed):
        server(ScramMechanism.SCRAM_SHA_256, {"alice": "secret"}).step(message)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"server-nonce", b"other-nonce"),
        (b"c=biws", b"c=eSws"),
        (b",p=", b",q="),
        (b",p=", b",p=AA"),
        (b",p=", b",p=!"),
    ],
)
def test_a_final_message_that_was_tampered_with_is_refused(old: bytes, new: bytes) -> None:
    mechanism = ScramMechanism.SCRAM_SHA_256
    client, exchange = Client(mechanism, "alice", "secret"), server(mechanism, {"alice": "secret"})
    final = client.final(exchange.step(client.first()).token)
    assert old in final
    with pytest.raises(AuthenticationFailed):
        exchange.step(final.replace(old, new))


def test_a_client_that_could_bind_channels_may_say_so() -> None:
    mechanism = ScramMechanism.SCRAM_SHA_256
    client, exchange = Client(mechanism, "a", "b", header="y,a=a,"), server(mechanism, {"a": "b"})
    assert exchange.step(client.final(exchange.step(client.first()).token)).principal == user("a")


def test_a_password_is_checked_against_what_is_kept_and_what_is_kept_shows_nothing() -> None:
    credential = derive(ScramMechanism.SCRAM_SHA_512, "secret", salt=SALT, iterations=5000)
    assert is_password(ScramMechanism.SCRAM_SHA_512, credential, "secret")
    assert not is_password(ScramMechanism.SCRAM_SHA_512, credential, "secret ")
    assert repr(credential) == f"{ScramCredential.__name__}(iterations=5000)"
