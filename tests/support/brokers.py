"""A Kafka cluster that a test may use, kill and start again: ours or Apache Kafka's, behind one face."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class Server(Protocol):
    """What both servers have in common."""

    @property
    def bootstrap(self) -> str: ...

    def kill(self) -> None: ...

    def restart(self) -> object: ...


@dataclass(slots=True)
class Cluster:
    """One broker, shared by the tests of a session; whoever kills it restarts it, or the fixture does."""

    name: str
    server: Server
    is_killed: bool = field(default=False, init=False)

    @property
    def bootstrap(self) -> str:
        return self.server.bootstrap

    def kill(self) -> None:
        """SIGKILL of the broker's process."""
        self.server.kill()
        self.is_killed = True

    def restart(self) -> None:
        """Start again on the same port and data."""
        self.server.restart()
        self.is_killed = False


@dataclass(slots=True)
class Stack:
    """A broker and a fresh database that go together: the small pair or the big one."""

    name: str
    cluster: Cluster
    database_url: str

    @property
    def bootstrap(self) -> str:
        return self.cluster.bootstrap

    def kill_broker(self) -> None:
        self.cluster.kill()

    def restart_broker(self) -> None:
        self.cluster.restart()


Names = Callable[[str], str]
"""Makes a name that no other test uses: ``names("orders")`` is ``orders-1f0c9a3b``."""


def unique_name(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:10]}"
