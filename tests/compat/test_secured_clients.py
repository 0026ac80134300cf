"""Clients that are not ours over TLS and SCRAM, with the rights that they need and no others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.support.brokers import Names
from tests.support.certificates import Authority
from tests.support.clients import committed, consumer, make_topic, producer, read_all, send
from tests.support.foreign import THAT_LOG_IN, ForeignClient, Login, command_of
from tests.support.secured import acl, only_these
from tests.support.wire import WireClient

from tallystick.broker import EmbeddedBroker
from tallystick.broker.security.acl import Operation, PatternType, ResourceType
from tallystick.broker.security.offline import opened_store, set_password
from tallystick.broker.security.scram import ScramMechanism

pytestmark = pytest.mark.timeout(500)  # the first test of a client waits for its packages and its compiler

PREFIX = "of-alice-"


@dataclass(frozen=True, slots=True)
class Guarded:
    """A broker with a door for its administrator on loopback, and one with TLS and SCRAM for alice."""

    bootstrap: str
    secured: str
    alice: Login


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Alice may use topics, groups and transactional ids that begin with her prefix."""
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority(folder)
    with opened_store(folder / "data") as store:
        set_password(store, "alice", "secret", mechanisms=[ScramMechanism.SCRAM_SHA_512], iterations=8192)
    options = ["--listen", "PLAINTEXT://:0", "--listen", "SASL_SSL://:0", "--super-user", "ANONYMOUS"]
    options += ["--tls-cert", str(authority.server.chain), "--tls-key", str(authority.server.key)]
    with EmbeddedBroker(folder / "data", options=options) as broker:
        bootstrap = f"127.0.0.1:{broker.ports['PLAINTEXT']}"
        rights = (
            (ResourceType.TOPIC, Operation.READ),
            (ResourceType.TOPIC, Operation.WRITE),
            (ResourceType.GROUP, Operation.READ),
            (ResourceType.TRANSACTIONAL_ID, Operation.WRITE),
        )
        with WireClient(bootstrap) as admin:
            only_these(
                admin, *(acl(kind, PREFIX, operation, pattern=PatternType.PREFIXED) for kind, operation in rights)
            )
        yield Guarded(bootstrap, f"127.0.0.1:{broker.ports['SASL_SSL']}", Login("alice", "secret", authority.ca_file))


@pytest.fixture(scope="session", params=THAT_LOG_IN)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ForeignClient:
    name: str = request.param
    return ForeignClient(name, command_of(name, tmp_path_factory.mktemp(name)))


def test_it_produces_with_the_right_to_write(guarded: Guarded, names: Names, client: ForeignClient) -> None:
    topic = make_topic(guarded.bootstrap, PREFIX + names("produced"))
    client.logged_in(guarded.alice).run("produce", guarded.secured, topic, 100)
    assert read_all(guarded.bootstrap, topic) == [str(number).encode() for number in range(100)]


def test_it_consumes_in_a_group_and_transacts_with_the_rights_to_that(
    guarded: Guarded, names: Names, client: ForeignClient
) -> None:
    bootstrap, group = guarded.bootstrap, PREFIX + names("g")
    source, target = (make_topic(bootstrap, PREFIX + names(name)) for name in ("in", "out"))
    values = [str(number).encode() for number in range(20)]
    send(producer(bootstrap), source, values)
    client.logged_in(guarded.alice).run(
        "copy", guarded.secured, source, group, target, PREFIX + names("tx"), len(values)
    )
    assert read_all(bootstrap, target) == values
    with consumer(bootstrap, group, isolation_level="read_committed") as reader:
        assert committed(reader, source) == len(values)


def test_it_is_refused_what_it_has_no_right_to(guarded: Guarded, names: Names, client: ForeignClient) -> None:
    topic = make_topic(guarded.bootstrap, names("of-bob"))
    with pytest.raises(AssertionError, match=r"(?i)authoriz"):
        client.logged_in(guarded.alice).run("produce", guarded.secured, topic, 1)
    assert read_all(guarded.bootstrap, topic) == []


def test_it_does_not_come_in_with_a_wrong_password(
    guarded: Guarded, names: Names, client: ForeignClient, tmp_path: Path
) -> None:
    topic = make_topic(guarded.bootstrap, PREFIX + names("closed"))
    stranger = client.logged_in(replace(guarded.alice, password="wrong"))
    with pytest.raises(AssertionError, match=r"the program (ended|did not end)"):
        stranger.run("produce", guarded.secured, topic, 1)
    assert read_all(guarded.bootstrap, topic) == []
