"""The sandbox as a process: real sockets, cut connections, and memory that survives ``kill -9``."""

from __future__ import annotations

import csv
import http.client
import json
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tallystick.errors import FatalError
from tallystick.sandbox import SandboxProcess


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox")) as process:
        yield process


def post(sandbox: SandboxProcess, key: str, *, amount: int = 500, timeout_s: float = 10) -> tuple[int, dict[str, Any]]:
    body = urlencode({"amount": amount, "currency": "usd", "reference": key, "customer": "c"})
    headers = {"Idempotency-Key": key, "Content-Type": "application/x-www-form-urlencoded"}
    with closing(http.client.HTTPConnection(sandbox.host, sandbox.port, timeout=timeout_s)) as connection:
        connection.request("POST", "/v1/charges", body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def references(sandbox: SandboxProcess) -> list[str]:
    return [charge["reference"] for charge in sandbox.truth()["charges"]]


def test_an_answered_charge_survives_kill_9_and_its_key_replays(sandbox: SandboxProcess) -> None:
    first = post(sandbox, "kill-1")
    port = sandbox.port
    sandbox.kill()
    sandbox.restart()
    assert sandbox.port == port
    assert post(sandbox, "kill-1") == first
    assert references(sandbox).count("kill-1") == 1


def test_charges_in_parallel_with_one_key_are_one_charge(sandbox: SandboxProcess) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: post(sandbox, "parallel-1"), range(24)))
    assert {status for status, _ in answers} <= {200, 409}
    assert references(sandbox).count("parallel-1") == 1


def test_a_timeout_after_commit_gives_no_answer_and_has_charged(sandbox: SandboxProcess) -> None:
    sandbox.set_faults({"rules": [{"fault": "timeout_after_commit", "reference": "late-1"}]})
    with pytest.raises(TimeoutError):
        post(sandbox, "late-1", timeout_s=2)
    assert references(sandbox).count("late-1") == 1
    assert post(sandbox, "late-1")[0] == 200
    assert references(sandbox).count("late-1") == 1


def test_a_hang_ends_with_a_closed_connection_and_no_byte(sandbox: SandboxProcess) -> None:
    sandbox.set_faults({"hang_ms": 50, "rules": [{"fault": "timeout_before_commit", "reference": "cut-1"}]})
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        post(sandbox, "cut-1")
    assert references(sandbox).count("cut-1") == 0


def test_a_client_that_leaves_frees_its_key(sandbox: SandboxProcess) -> None:
    sandbox.set_faults({"rules": [{"fault": "timeout_before_commit", "reference": "gone-1"}]})
    with pytest.raises(TimeoutError):
        post(sandbox, "gone-1", timeout_s=1)
    for _ in range(200):
        status, _ = post(sandbox, "gone-1")
        if status != 409:
            break
    assert status == 200


def test_the_settlement_file_is_in_the_data_folder(sandbox: SandboxProcess) -> None:
    post(sandbox, "settle-1", amount=1999)
    path = sandbox.settlement()
    assert path.parent == sandbox.data
    rows = list(csv.DictReader(path.read_text().splitlines()))
    (row,) = (row for row in rows if row["intent_reference"] == "settle-1")
    assert (row["amount_minor"], row["fee_minor"], row["net_minor"]) == ("1999", "88", "1911")
    assert len(rows) == sandbox.truth()["charged_count"]


def test_wrong_faults_are_refused_with_the_reason(sandbox: SandboxProcess) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        sandbox.set_faults({"typo": 1})
    assert b"typo: no fault" in refused.value.read()
    refused.value.close()


def test_the_clock_moves_forward_only(sandbox: SandboxProcess) -> None:
    before = sandbox.move_clock(by_ms=0)
    assert sandbox.move_clock(by_ms=60_000) >= before + 60_000
    with pytest.raises(urllib.error.HTTPError) as refused:
        sandbox.move_clock(by_ms=-1)
    refused.value.close()


def test_the_ready_line_is_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tallystick.sandbox", "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        process.terminate()
    assert (ready["event"], ready["host"], ready["pid"]) == ("ready", "127.0.0.1", process.pid)
    assert ready["port"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--listen", "0.0.0.0:0"], "no access control"),
        (["--listen", "nowhere"], "not host:port"),
        (["--faults", "slow=x"], "slow: 'x' is no number"),
    ],
)
def test_settings_that_make_no_sense_end_with_a_message(tmp_path: Path, arguments: list[str], message: str) -> None:
    command = [sys.executable, "-m", "tallystick.sandbox", "--data", str(tmp_path), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert message in ended.stderr


def test_a_sandbox_that_cannot_start_says_why(tmp_path: Path) -> None:
    process = SandboxProcess(tmp_path, faults={"typo": 1})
    with pytest.raises(FatalError, match="typo: no fault"):
        process.start()
