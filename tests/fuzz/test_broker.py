"""The broker under requests that no client would send: each costs at most its own connection.

The seed stands in the output of a test that fails. ``TALLYSTICK_FUZZ_SEED`` repeats a run, ``TALLYSTICK_FUZZ_ROUNDS``
makes it longer.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from tests.fuzz.requests import Attempt, attempt, keys_of
from tests.support.wire import WireClient

from tallystick.broker import EmbeddedBroker
from tallystick.broker.registry import APIS
from tallystick.wire.errors import ErrorCode
from tallystick.wire.frames import LENGTH_BYTES, read_response

ROUNDS: Final = int(os.environ.get("TALLYSTICK_FUZZ_ROUNDS", "1500"))
DESCRIBE_TRANSACTIONS: Final = 65
"""Says -1 for when a transaction began that is not there, as Apache Kafka does; kio writes that and cannot read it."""
ENDS_WITHIN_S: Final = 60.0
MAX_GROWTH_MIB: Final = 200
"""Of resident memory, over a run: topics, groups and producers that the requests made are part of it."""


@pytest.fixture
def seed() -> int:
    seed = int(os.environ.get("TALLYSTICK_FUZZ_SEED", Random().randrange(2**32)))
    print(f"TALLYSTICK_FUZZ_SEED={seed} TALLYSTICK_FUZZ_ROUNDS={ROUNDS}")
    return seed


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path / "data") as broker:
        yield broker


def resident_mib(pid: int) -> float:
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], check=True, capture_output=True)  # noqa: S607
    return int(shown.stdout) / 1024


def answers(broker: EmbeddedBroker, raw: bytes) -> list[bytes]:
    """Send, say that nothing more comes, and take what is answered until the broker ends the connection."""
    with socket.create_connection(("127.0.0.1", broker.port), timeout=ENDS_WITHIN_S) as peer:
        received = bytearray()
        try:
            peer.sendall(raw)
            peer.shutdown(socket.SHUT_WR)
            while part := peer.recv(65_536):
                received += part
        except (ConnectionResetError, BrokenPipeError):
            pass
    frames = []
    while received:
        length = int.from_bytes(received[:LENGTH_BYTES], "big")
        assert len(received) >= LENGTH_BYTES + length, "an answer is not whole"
        frames.append(bytes(received[LENGTH_BYTES : LENGTH_BYTES + length]))
        del received[: LENGTH_BYTES + length]
    return frames


def check(tried: Attempt, frames: list[bytes]) -> None:
    assert len(frames) <= 1, "one request has one answer"
    known = {api.key: api for api in APIS}.get(tried.key)
    handled = known is not None and known.min_version <= tried.version <= known.max_version
    if tried.is_sound and handled and tried.key != 0:  # Produce with acks=0 has none
        assert frames, "a request that is whole and of a known version has an answer"
    for frame in frames:
        assert int.from_bytes(frame[:4], "big", signed=True) == tried.correlation_id
        if tried.is_sound and handled and tried.key != DESCRIBE_TRANSACTIONS:
            read_response(frame, tried.key, tried.version)


class Witness:
    """A client that does nothing wrong, on a connection that stays open through all of it."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._client = WireClient(broker.bootstrap)

    def close(self) -> None:
        self._client.__exit__()

    def is_served(self) -> None:
        answer = self._client.ask(
            "metadata", 12, topics=None, allow_auto_topic_creation=False, include_topic_authorized_operations=False
        )
        assert answer.brokers
        assert self._client.ask("api_versions", 0).error_code is ErrorCode.none


def unexpected(broker: EmbeddedBroker) -> list[dict[str, Any]]:
    """What the broker's log says at the level of an error."""
    lines = broker.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    assert all(line.startswith("{") for line in lines), "something printed a traceback past the log"
    return [entry for entry in map(json.loads, lines) if entry["level"] in ("error", "critical")]


@pytest.fixture
def witness(broker: EmbeddedBroker) -> Iterator[Witness]:
    witness = Witness(broker)
    yield witness
    witness.close()


def test_no_request_costs_more_than_its_connection(broker: EmbeddedBroker, witness: Witness, seed: int) -> None:
    random = Random(seed)
    keys = keys_of(APIS)
    before = None
    for number in range(ROUNDS):
        tried = attempt(random, number, keys=keys)
        try:
            check(tried, answers(broker, tried.raw))
            if number % 50 == 0:
                witness.is_served()
        except BaseException:
            print(f"round {number}: API {tried.key} version {tried.version}, {tried.how}: {tried.raw.hex()}")
            raise
        if number == ROUNDS // 5:
            before = resident_mib(broker.pid)
    witness.is_served()
    assert unexpected(broker) == []
    assert before is not None
    assert resident_mib(broker.pid) - before < MAX_GROWTH_MIB
