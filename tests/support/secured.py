"""A broker with users and access control lists, ours or Apache Kafka's: one open door for its administrator, who is
``User:ANONYMOUS`` there and may do everything, and one with SASL for alice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.clients import WAIT_S
from tests.support.wire import WireClient, nested

from tallystick.broker.security.acl import Acl, AclFilter, Operation, PatternType, Permission, ResourceType
from tallystick.wire.errors import ErrorCode

PASSWORDS: Final = {"alice": "secret of alice", "admin": "secret of the admin"}
_ACLS_VERSION: Final = 3


@dataclass(frozen=True, slots=True)
class Secured:
    """Where its two listeners are."""

    name: str
    bootstrap: str
    sasl_bootstrap: str

    @contextmanager
    def logged_in(self, name: str = "alice") -> Iterator[WireClient]:
        """A connection that acts under this name."""
        with WireClient(self.sasl_bootstrap) as client:
            assert client.ask("sasl_handshake", 1, mechanism="PLAIN").error_code is ErrorCode.none
            token = f"\0{name}\0{PASSWORDS[name]}".encode()
            assert client.ask("sasl_authenticate", 2, auth_bytes=token).error_code is ErrorCode.none
            yield client


@contextmanager
def embedded_secured(folder: Path) -> Iterator[Secured]:
    """Our broker."""
    from tallystick.broker import EmbeddedBroker

    users = folder / "users"
    users.touch(mode=0o600)
    users.write_text("".join(f"{name}:{password}\n" for name, password in PASSWORDS.items()), encoding="utf-8")
    options = ["--listen", "PLAINTEXT://:0", "--listen", "SASL_PLAINTEXT://:0", "--users", str(users), "--acls"]
    options += ["--super-user", "ANONYMOUS", "--super-user", "admin"]
    with EmbeddedBroker(folder / "data", options=options) as broker:
        yield Secured(
            "embedded",
            f"127.0.0.1:{broker.ports['PLAINTEXT']}",
            f"127.0.0.1:{broker.ports['SASL_PLAINTEXT']}",
        )


@contextmanager
def apache_secured() -> Iterator[Secured]:
    """Apache Kafka."""
    from tallystick.servers import ApacheKafka

    users = " ".join(f'user_{name}="{password}"' for name, password in PASSWORDS.items())
    package = "org.apache.kafka.common.security"
    settings = {
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.sasl.plain.sasl.jaas.config": f"{package}.plain.PlainLoginModule required {users};",
        **{
            f"listener.name.sasl.scram-sha-{size}.sasl.jaas.config": f"{package}.scram.ScramLoginModule required;"
            for size in (256, 512)
        },
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:admin",
    }
    with ApacheKafka(listeners={"SASL": "SASL_PLAINTEXT"}, settings=settings) as kafka:
        yield Secured("apache", kafka.bootstrap, kafka.bootstrap_of("SASL"))


def acl(
    kind: ResourceType,
    name: str,
    operation: Operation,
    *,
    permission: Permission = Permission.ALLOW,
    pattern: PatternType = PatternType.LITERAL,
    principal: str = "User:alice",
    host: str = "*",
) -> Acl:
    """An entry about alice, if nothing else is said."""
    return Acl(kind, name, pattern, principal, host, operation, permission)


def only_these(admin: WireClient, *acls: Acl) -> None:
    """Replace every entry, and wait until the broker goes by the new ones: Apache Kafka's controller answers first."""
    everything = AclFilter(1, None, 1, None, None, 1, 1)
    if _described(admin, everything):
        admin.ask("delete_acls", _ACLS_VERSION, filters=(_filter("DeleteAclsFilter", everything),))
    if acls:
        answer = admin.ask("create_acls", _ACLS_VERSION, creations=tuple(_creation(entry) for entry in acls))
        assert {row.error_code for row in answer.results} == {ErrorCode.none}, answer
    deadline = time.monotonic() + WAIT_S
    while _described(admin, everything) != set(acls):
        assert time.monotonic() < deadline, "the entries did not come into force"
        time.sleep(0.005)


def take_away(admin: WireClient, entry: Acl) -> None:
    """Remove one entry, and wait until the broker goes without it."""
    wanted = AclFilter(entry.resource_type, entry.resource_name, entry.pattern_type, None, None, 1, 1)
    admin.ask("delete_acls", _ACLS_VERSION, filters=(_filter("DeleteAclsFilter", wanted),))
    deadline = time.monotonic() + WAIT_S
    while _described(admin, wanted):
        assert time.monotonic() < deadline, "the entry did not go"
        time.sleep(0.005)


def _creation(entry: Acl) -> object:
    return nested(
        "create_acls",
        _ACLS_VERSION,
        "AclCreation",
        resource_type=entry.resource_type,
        resource_name=entry.resource_name,
        resource_pattern_type=entry.pattern_type,
        principal=entry.principal,
        host=entry.host,
        operation=entry.operation,
        permission_type=entry.permission,
    )


def filter_fields(wanted: AclFilter) -> dict[str, object]:
    """The fields of a filter as requests have them."""
    return {
        "resource_type_filter": wanted.resource_type,
        "resource_name_filter": wanted.resource_name,
        "pattern_type_filter": wanted.pattern_type,
        "principal_filter": wanted.principal,
        "host_filter": wanted.host,
        "operation": wanted.operation,
        "permission_type": wanted.permission,
    }


def _filter(class_name: str, wanted: AclFilter) -> object:
    return nested("delete_acls", _ACLS_VERSION, class_name, **filter_fields(wanted))


def _described(admin: WireClient, wanted: AclFilter) -> set[Acl]:
    answer = admin.ask("describe_acls", _ACLS_VERSION, **filter_fields(wanted))
    assert answer.error_code is ErrorCode.none, answer
    return {
        Acl(
            ResourceType(resource.resource_type),
            resource.resource_name,
            PatternType(resource.pattern_type),
            entry.principal,
            entry.host,
            Operation(entry.operation),
            Permission(entry.permission_type),
        )
        for resource in answer.resources
        for entry in resource.acls
    }
