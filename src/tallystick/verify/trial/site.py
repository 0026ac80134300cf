"""Where a trial runs: a cluster that is there, or one that is started for it; a database; the proxy between.

Owns: what is started here and ended again. Must not know: what runs on it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tallystick.errors import ConfigurationError
from tallystick.verify.faults.fault import BrokerFaults, Need, Server
from tallystick.verify.workloads import WITH_INBOX, Shape

if TYPE_CHECKING:
    from tallystick.broker import EmbeddedBroker
    from tallystick.sandbox.process import SandboxProcess
    from tallystick.verify.proxy import Proxy

POSTGRESQL: Final = "postgresql"
SQLITE: Final = "sqlite"
_KAFKAS_OWN: Final = {
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000",
    "broker.session.timeout.ms": "9000",
    "broker.heartbeat.interval.ms": "2000",
}
"""As installed, where ``servers`` is quicker: a busy machine must not look like a broken one."""


class On(Enum):
    """Which cluster is started where none is given."""

    EMBEDDED = "embedded"
    APACHE = "apache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """``client`` are librdkafka's settings that reach the cluster. What is not ours to break is None."""

    name: str
    bootstrap: str
    client: Mapping[str, str] = field(default_factory=dict)
    broker: Server | None = None
    broker_faults: BrokerFaults | None = None
    proxy: Proxy | None = None
    database_url: str | None = None
    database: Server | None = None
    provider: SandboxProcess | None = None
    data: Path | None = None
    broker_log: Path | None = None

    @property
    def clients_bootstrap(self) -> str:
        """Where producers and workers go: through the proxy, if there is one."""
        return self.bootstrap if self.proxy is None else self.proxy.bootstrap

    def reach(self, *, proxied: bool = False) -> dict[str, str]:
        """Settings of a client."""
        return {**self.client, "bootstrap.servers": self.clients_bootstrap if proxied else self.bootstrap}


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSettings:
    """``bootstrap`` None starts a cluster, ``on`` says which. ``database`` is a URL, or one of the two names."""

    bootstrap: str | None = None
    on: On = On.EMBEDDED
    client: Mapping[str, str] = field(default_factory=dict)
    workload: Shape = Shape.PASS_THROUGH
    database: str = SQLITE

    def __post_init__(self) -> None:
        if self.bootstrap is not None and self.on is On.APACHE:
            raise ConfigurationError("--bootstrap names a cluster, and --on starts one", remedy="Give one of them")

    def offers(self, *, foreign: bool = False) -> frozenset[Need]:
        """Which needs of faults are met here, known before anything starts; ``foreign`` is another's application."""
        needs = set() if foreign else {Need.KILL_POINTS}
        if not self.client.get("security.protocol", "PLAINTEXT").upper().endswith("SSL"):
            needs.add(Need.PROXY)
        if self.bootstrap is None:
            needs.add(Need.OWN_BROKER)
            if self.on is On.EMBEDDED:
                needs.add(Need.EMBEDDED_BROKER)
        if self.workload is Shape.CHARGE:
            needs.add(Need.PROVIDER)
        if self.workload in WITH_INBOX:
            needs.add(Need.INBOX)
            if self.database == POSTGRESQL:
                needs.add(Need.OWN_DATABASE)
        return frozenset(needs)


class _OnDemand:
    """The embedded broker's own faults."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._faults = broker.faults
        self._dropped = 0

    def fill_disk(self, *, appends: int | None = None) -> None:
        self._faults.fill_disk(appends=appends)

    def free_disk(self) -> None:
        self._faults.free_disk()

    def slow_disk(self, *, ms: float) -> None:
        self._faults.slow_disk(ms=ms)

    def skew_clock(self, *, by_ms: int = 0, monotonic_ms: int = 0) -> None:
        self._faults.skew_clock(by_ms=by_ms, monotonic_ms=monotonic_ms)

    def drop_response(self, api: str) -> None:
        from tallystick.broker.faults import DropResponse, Fault, Match

        self._dropped += 1
        self._faults.add(Fault(DropResponse(), on=Match(api=api), name=f"drop {self._dropped} {api}"))


@contextmanager
def opened(settings: SiteSettings, folder: Path, *, proxied: bool) -> Iterator[Site]:
    """Start what is to be started; all of it ends with the block."""
    with ExitStack() as stack:
        name, bootstrap, data = "the given cluster", settings.bootstrap, None
        broker: Server | None = None
        broker_log: Path | None = None
        faults: BrokerFaults | None = None
        if bootstrap is None and settings.on is On.EMBEDDED:
            from tallystick.broker import EmbeddedBroker

            data = folder / "broker"
            embedded = stack.enter_context(EmbeddedBroker(data))
            name, bootstrap, broker, faults = "the embedded broker", embedded.bootstrap, embedded, _OnDemand(embedded)
        elif bootstrap is None:
            from tallystick.servers import ApacheKafka
            from tallystick.servers.apache_kafka import VERSION

            data = folder / "kafka"
            apache = stack.enter_context(ApacheKafka(data=data, settings=_KAFKAS_OWN))
            name, bootstrap, broker = f"Apache Kafka {VERSION}", apache.bootstrap, apache
            broker_log = apache.log
        url, database = _database(settings, folder, stack)
        provider = None
        if settings.workload is Shape.CHARGE:
            from tallystick.sandbox.process import SandboxProcess

            provider = stack.enter_context(SandboxProcess(folder / "sandbox"))
        proxy = _proxy(bootstrap, stack) if proxied else None
        yield Site(
            name=name,
            bootstrap=bootstrap,
            client=settings.client,
            broker=broker,
            broker_faults=faults,
            proxy=proxy,
            database_url=url,
            database=database,
            provider=provider,
            data=data,
            broker_log=broker_log,
        )


def _proxy(bootstrap: str, stack: ExitStack) -> Proxy:
    from tallystick.verify.proxy import Proxy

    return stack.enter_context(Proxy(bootstrap.split(",", maxsplit=1)[0]))


def _database(settings: SiteSettings, folder: Path, stack: ExitStack) -> tuple[str | None, Server | None]:
    if settings.workload not in WITH_INBOX:
        return None, None
    if settings.database == SQLITE:
        return f"sqlite:///{folder / 'verify.sqlite3'}", None
    if settings.database == POSTGRESQL:
        from tallystick.servers import PostgreSQL

        rows = None if os.geteuid() == 0 else folder / "postgresql"
        server = stack.enter_context(PostgreSQL(data=rows))
        return server.url, server
    return settings.database, None
