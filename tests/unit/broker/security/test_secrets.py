"""What nobody is to find out: who has an account, and what it is opened with."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.unit.broker.in_process import opened

from tallystick.broker.security.credentials import Credentials, credential_record
from tallystick.broker.security.offline import opened_store, set_password
from tallystick.broker.security.records import DecoyKeySet
from tallystick.broker.security.scram import MIN_ITERATIONS, ScramMechanism, derive
from tallystick.broker.security.settings import ListenerSettings, SecuritySettings
from tallystick.wire.frames import MAX_FRAME_BYTES, read_request, read_request_header
from tallystick.wire.shapes import MalformedFrame

SHA_512 = ScramMechanism.SCRAM_SHA_512
SASL = SecuritySettings(listeners=ListenerSettings(listeners=("SASL_PLAINTEXT://:0",)))


@pytest.fixture
def derivations(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ScramMechanism, int]]:
    """The slow steps that were done: by their mechanism and iterations they take their time."""
    done: list[tuple[ScramMechanism, int]] = []

    def salted_password(self: ScramMechanism, password: str, salt: bytes, iterations: int) -> bytes:
        done.append((self, iterations))
        return (password * 64).encode()[:64] + salt

    monkeypatch.setattr(ScramMechanism, "salted_password", salted_password)
    return done


@pytest.mark.parametrize("name", ["of the file", "scram", "nobody"])
@pytest.mark.parametrize("password", ["right", "wrong"])
def test_every_name_and_password_takes_as_long(
    name: str, password: str, derivations: list[tuple[ScramMechanism, int]]
) -> None:
    credentials = Credentials({"of the file": "right"})
    held = derive(SHA_512, "right", salt=b"s" * 30, iterations=8192)
    credentials.apply(credential_record("scram", SHA_512, held))
    derivations.clear()
    assert credentials.is_password(name, password) == (password == "right" and name != "nobody")
    assert derivations == [(SHA_512, 8192)]


def test_without_any_scram_user_the_users_of_the_file_and_nobody_take_as_long(
    derivations: list[tuple[ScramMechanism, int]],
) -> None:
    credentials = Credentials({"alice": "right"})
    assert credentials.is_password("alice", "right")
    assert not credentials.is_password("nobody", "")
    assert derivations == [(ScramMechanism.SCRAM_SHA_256, MIN_ITERATIONS)] * 2


def first_answer(data: Path, name: str) -> dict[str, str]:
    """What SCRAM tells of a name: the salt and the iterations."""
    with opened(data, security=SASL) as node:
        exchange = node.security._exchanges["SCRAM-SHA-512"]()
        token = exchange.step(f"n,,n={name},r=client".encode()).token.decode()
    return dict(part.split("=", 1) for part in token.split(","))


def test_a_name_that_does_not_exist_looks_like_the_others_and_so_over_a_restart(tmp_path: Path) -> None:
    with opened_store(tmp_path) as store:
        for name in ("alice", "bob"):
            set_password(store, name, "secret", mechanisms=[SHA_512], iterations=12_000)
    real, nobody = first_answer(tmp_path, "alice"), first_answer(tmp_path, "nobody")
    assert nobody["i"] == real["i"] == "12000"
    assert len(base64.b64decode(nobody["s"])) == len(base64.b64decode(real["s"]))
    assert first_answer(tmp_path, "nobody")["s"] == nobody["s"] != first_answer(tmp_path, "no-one")["s"]


def test_the_key_of_decoys_is_kept_when_the_journal_is_compacted(tmp_path: Path) -> None:
    with opened_store(tmp_path) as store:
        key = store.decoy_key(b"fresh")
        store._journal._compact_above_bytes = 0
        set_password(store, "alice", "secret", mechanisms=[SHA_512], iterations=4096)
    with opened_store(tmp_path) as store:
        assert store.decoy_key(b"another") == key == b"fresh"


def test_the_folder_is_its_owners_and_a_journal_that_others_could_read_is_so_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with opened(data, security=SASL):
        pass
    assert data.stat().st_mode & 0o777 == 0o700
    journal = data / "security.journal"
    assert journal.stat().st_mode & 0o777 == 0o600
    journal.chmod(0o644)
    with capture_logs() as logs, opened(data, security=SASL):
        assert journal.stat().st_mode & 0o777 == 0o600
    assert any("others could read" in line["event"] for line in logs)


def test_no_representation_shows_a_key() -> None:
    credential = derive(SHA_512, "secret", salt=b"salty", iterations=4096)
    record = credential_record("alice", SHA_512, credential)
    for shown in (repr(credential), repr(record), str(record), repr(DecoyKeySet(key=b"salty"))):
        assert "salty" not in shown
        assert "stored" not in shown or "stored_key=b" not in shown


def test_a_request_that_does_not_decode_is_not_quoted() -> None:
    """It may hold a password: UnicodeDecodeError, for one, shows all the bytes that it was given."""
    frame = b"\0\x11\0\x01\0\0\0\x01\xff\xff" + b"\0\x09hunter2\xff\xfe"
    assert len(frame) < MAX_FRAME_BYTES
    with pytest.raises(MalformedFrame) as refused:
        read_request(frame, read_request_header(frame))
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_listener_for_everybody_without_access_control_is_told_at_the_start(tmp_path: Path) -> None:
    from tests.support.certificates import Authority

    from tallystick.broker.security.settings import STANDARD_AUTHORIZER, AuthorizerSettings, TlsSettings

    authority = Authority(tmp_path)
    tls = TlsSettings(tls_cert=authority.server.chain, tls_key=authority.server.key)
    outside = ListenerSettings(listeners=("SASL_SSL://0.0.0.0:0",), advertised_listeners=("SASL_SSL://example.org:1",))
    for acls, warned in (("", True), (STANDARD_AUTHORIZER, False)):
        settings = SecuritySettings(
            listeners=outside, tls=tls, authorizer=AuthorizerSettings(authorizer_class_name=acls)
        )
        with capture_logs() as logs, opened(tmp_path / f"data{warned}", security=settings):
            pass
        assert any("no access control lists" in line["event"] for line in logs) is warned
