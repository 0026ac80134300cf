"""Kafka's own Java tools, run against any broker: a foreign client with transactions, without a compiler."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tallystick.servers.apache_kafka import class_path, java

TOOL_TIMEOUT_S: Final = 90

_JVM: Final = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def jvm(classes: str) -> list[str]:
    """How a Java program with this class path is started; its main class comes next."""
    return [str(java()), *_JVM, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classes]


def command(main_class: str, *arguments: str) -> list[str]:
    return [*jvm(class_path()), main_class, *arguments]


def run_tool(main_class: str, *arguments: str) -> str:
    """What a tool prints on stdout; a failure carries what it printed on stderr."""
    try:
        done = subprocess.run(
            command(main_class, *arguments), capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as late:  # its own text is the whole class path
        printed = b"".join(part for part in (late.stdout, late.stderr) if isinstance(part, bytes))
        text = f"{main_class} did not end in {TOOL_TIMEOUT_S} s:\n{printed.decode(errors='replace')[-3000:]}"
        raise AssertionError(text) from None
    assert done.returncode == 0, f"{main_class} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def running_tool(main_class: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A tool that runs until the block ends; its stdout is a pipe."""
    process = subprocess.Popen(
        command(main_class, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=TOOL_TIMEOUT_S)
