"""Kafka's own performance tools, run as their scripts run them.

Owns: their options and what they print. Must not know: the brokers.
"""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Mapping
from typing import Final

from bench.speed.site import TIMEOUT_S

from tallystick.servers.apache_kafka import class_path, java

_JVM: Final = (
    "-Xmx512M",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
_STEADY: Final = re.compile(r"steady state records sent, ([\d.]+) records/sec")


def program(classes: str, main_class: str, *words: str) -> list[str]:
    """The command line of a program of ours, under the options of Kafka's own scripts."""
    return [str(java()), *_JVM, "-cp", classes, main_class, *words]


def produce_rate(bootstrap: str, topic: str, *, records: int, size_bytes: int, settings: Mapping[str, object]) -> float:
    """Records per second of ``kafka-producer-perf-test``; the first quarter, while Java warms up, is not counted."""
    properties = {"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": "true", **settings}
    printed = _run(
        "org.apache.kafka.tools.ProducerPerformance",
        *("--topic", topic, "--num-records", str(records), "--record-size", str(size_bytes), "--throughput", "-1"),
        *("--warmup-records", str(records // 4)),
        *("--command-property", *(f"{name}={value}" for name, value in properties.items())),
    )
    found = _STEADY.search(printed)
    if found is None:
        raise RuntimeError(f"the producer says nothing of its steady state:\n{printed}")
    return float(found[1])


def consume_rate(bootstrap: str, topic: str, *, records: int, isolation: str) -> float:
    """Records per second of ``kafka-consumer-perf-test`` from the start of the topic, without the group's rebalance."""
    printed = _run(
        "org.apache.kafka.tools.ConsumerPerformance",
        *("--bootstrap-server", bootstrap, "--topic", topic, "--num-records", str(records)),
        *("--group", f"bench-{uuid.uuid4()}", "--command-property", f"isolation.level={isolation}"),
    )
    headings, figures = (line.split(", ") for line in printed.strip().splitlines()[-2:])
    row = dict(zip(headings, figures, strict=True))
    if int(row["data.consumed.in.nMsg"]) < records:
        raise RuntimeError(f"only {row['data.consumed.in.nMsg']} of {records} records arrived")
    return float(row["fetch.nMsg.sec"])


def _run(main_class: str, *arguments: str) -> str:
    command = [str(java()), *_JVM, "-cp", class_path(), main_class, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{main_class} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout
