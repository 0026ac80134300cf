"""A second broker beside an Apache Kafka of ``tallystick.servers``: a process of its own, in the same cluster.

Owns: its settings and its life. Must not know: what is tested with it.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from confluent_kafka.admin import AdminClient

from tallystick.servers.apache_kafka import SMALL, class_path, java
from tallystick.servers.process import ChildServer, free_port

NODE_ID: Final = 2
_START_TIMEOUT_S: Final = 60.0
_OF_THE_CLUSTER: Final = (
    "controller.quorum.bootstrap.servers",
    "broker.session.timeout.ms",
    "broker.heartbeat.interval.ms",
)


@contextlib.contextmanager
def second_broker(first: Path, bootstrap: str, folder: Path) -> Iterator[ChildServer]:
    """``first`` is the data folder of the first one, which is also the controller. It runs when the block begins."""
    given = dict(line.split("=", 1) for line in (first / "server.properties").read_text().splitlines())
    cluster_id = dict(
        line.split("=", 1) for line in (first / "data" / "meta.properties").read_text().splitlines() if "=" in line
    )["cluster.id"]
    address = f"127.0.0.1:{free_port()}"
    settings = {
        **{name: given[name] for name in _OF_THE_CLUSTER},
        "process.roles": "broker",
        "node.id": str(NODE_ID),
        "listeners": f"PLAINTEXT://{address}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": str(folder / "data"),
    }
    folder.mkdir(parents=True)
    properties = folder / "server.properties"
    properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    run = [str(java()), *SMALL, "-cp", class_path()]
    formatting = [*run, "kafka.tools.StorageTool", "format", "--cluster-id", cluster_id, "--config", str(properties)]
    subprocess.run(formatting, check=True, capture_output=True, timeout=_START_TIMEOUT_S)
    server = ChildServer("the second broker", [*run, "kafka.Kafka", str(properties)], log=folder / "log", cwd=folder)
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    start(server, admin)
    try:
        yield server
    finally:
        server.kill()


def start(server: ChildServer, admin: AdminClient) -> None:
    """Start it, or start it again, and wait until the cluster counts it in."""
    server.start()
    server.wait_until(lambda: NODE_ID in admin.list_topics(timeout=20).brokers, timeout_s=_START_TIMEOUT_S)
