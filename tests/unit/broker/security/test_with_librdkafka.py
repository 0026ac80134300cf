"""librdkafka logs in by every mechanism, with TLS and without, and is refused with a wrong password."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, UserScramCredentialUpsertion
from confluent_kafka.admin import ScramMechanism as Mechanism
from tests.support.certificates import Authority

from tallystick.broker import EmbeddedBroker

WAIT_S = 20
PASSWORD = "a password, with = signs"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[EmbeddedBroker]:
    data = tmp_path_factory.mktemp("secured") / "data"
    command = [sys.executable, "-m", "tallystick.cli.main", "users", "add", "alice", "--data", str(data)]
    added = subprocess.run(command, input=f"{PASSWORD}\n", capture_output=True, text=True, timeout=60, check=True)
    assert added.stdout == "user alice can log in\n"
    options = ["--listen", "SASL_PLAINTEXT://:0", "--listen", "SASL_SSL://:0"]
    options += ["--tls-cert", str(authority.server.chain), "--tls-key", str(authority.server.key)]
    with EmbeddedBroker(data, options=options) as running:
        yield running
        assert PASSWORD not in running.log_path.read_text()


def settings(
    broker: EmbeddedBroker, authority: Authority, protocol: str, mechanism: str, password: str
) -> dict[str, Any]:
    return {
        "bootstrap.servers": f"127.0.0.1:{broker.ports[protocol]}",
        "security.protocol": protocol,
        "sasl.mechanism": mechanism,
        "sasl.username": "alice",
        "sasl.password": password,
        "ssl.ca.location": str(authority.ca_file),
        "log_level": 0,
    }


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_user_logs_in(broker: EmbeddedBroker, authority: Authority, protocol: str, mechanism: str) -> None:
    client = AdminClient(settings(broker, authority, protocol, mechanism, PASSWORD))
    (told,) = client.list_topics(timeout=WAIT_S).brokers.values()
    assert f"{told.host}:{told.port}" == f"127.0.0.1:{broker.ports[protocol]}"


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_wrong_password_is_an_authentication_error(
    broker: EmbeddedBroker, authority: Authority, mechanism: str
) -> None:
    errors: list[KafkaError] = []
    client = AdminClient(settings(broker, authority, "SASL_SSL", mechanism, "wrong") | {"error_cb": errors.append})
    with pytest.raises(KafkaException):
        client.list_topics(timeout=3)
    client.poll(0)
    assert KafkaError._AUTHENTICATION in [error.code() for error in errors]


def test_users_are_made_seen_and_removed_over_the_protocol_and_survive_a_kill(
    broker: EmbeddedBroker, authority: Authority
) -> None:
    client = AdminClient(settings(broker, authority, "SASL_SSL", "SCRAM-SHA-256", PASSWORD))
    info = ScramCredentialInfo(Mechanism.SCRAM_SHA_512, 5_000)
    change = UserScramCredentialUpsertion("bob", info, b"secret of bob")
    for done in client.alter_user_scram_credentials([change]).values():
        done.result(WAIT_S)
    broker.kill()
    broker.start()
    client = AdminClient(settings(broker, authority, "SASL_SSL", "SCRAM-SHA-256", PASSWORD))
    described = client.describe_user_scram_credentials(["bob"])
    assert isinstance(described, dict)
    told = described["bob"].result(WAIT_S)
    assert [(row.mechanism, row.iterations) for row in told.scram_credential_infos] == [
        (Mechanism.SCRAM_SHA_512, 5_000)
    ]
    as_bob = settings(broker, authority, "SASL_SSL", "SCRAM-SHA-512", "secret of bob") | {"sasl.username": "bob"}
    assert AdminClient(as_bob).list_topics(timeout=WAIT_S).brokers
