"""Java programs of ours, compiled by the Eclipse compiler on the Java runtime that runs Apache Kafka."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from tallystick.servers.apache_kafka import class_path, java
from tallystick.servers.cache import cache_folder
from tallystick.servers.jars import fetch, parse_lock

COMPILE_TIMEOUT_S: Final = 100.0
_COMPILER: Final = "org.eclipse.jdt.internal.compiler.batch.Main"


def jars() -> str:
    """The class path of Kafka, Kafka Streams and the compiler."""
    lock = Path(__file__).with_name("java.lock")
    wanted = parse_lock(lock.read_text(encoding="utf-8"), source=lock.name)
    fetched = fetch(wanted, cache_folder() / "java", label="Java compiler and Kafka Streams")
    return os.pathsep.join([*(str(path) for path in fetched), class_path()])


def compile_into(sources: Path, classes: Path) -> str:
    """Compile every source of a folder, and return the class path that runs them; ``classes`` may have some already."""
    everything = os.pathsep.join([str(classes), jars()])
    files = [str(path) for path in sorted(sources.glob("*.java"))]
    command = [str(java()), "-cp", everything, _COMPILER, "-21", "-warn:none", "-cp", everything, "-d", str(classes)]
    done = subprocess.run([*command, *files], capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{sources} does not compile:\n{done.stdout}{done.stderr}")
    return everything
