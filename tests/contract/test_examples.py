"""The examples of the README run as they stand, and the README shows them as they are."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer

from tallystick.billing.transport import read_topics
from tallystick.broker import EmbeddedBroker
from tallystick.ids import deterministic_id

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
ORDER = {"customer": "ada", "amount_minor": 1250}
PURCHASES: list[dict[str, Any]] = [
    {"customer": str(n % 7), "price_minor": 100 + n, "quantity": 1 + n % 3} for n in range(50)
]


def _produce(bootstrap: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for purchase in PURCHASES:
        producer.produce("purchases", json.dumps(purchase).encode(), key=purchase["customer"])
    assert producer.flush(30) == 0


def _run_until(command: list[str], *, bootstrap: str, topic: str, folder: Path) -> list[dict[str, Any]]:
    """Start the program, wait until ``topic`` holds as many records as there are purchases, end it with SIGTERM."""
    environment = os.environ | {"KAFKA": bootstrap}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=EXAMPLES, env=environment, stdout=log, stderr=log)
    try:
        records: list[dict[str, Any]] = []
        while len(records) < len(PURCHASES):
            assert process.poll() is None, (folder / "log").read_text()
            found = read_topics(bootstrap, [topic])[topic]
            records = [json.loads(record.value or b"") for record in found]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (folder / "log").read_text()
    return records


def test_the_application_of_the_readme_charges_each_purchase_once(tmp_path: Path) -> None:
    with EmbeddedBroker(num_partitions=2) as broker:
        _produce(broker.bootstrap)
        command = [sys.executable, "-m", "tallystick.cli.main", "run", "shop:app", "--workers", "2"]
        command += ["--bootstrap", broker.bootstrap, "--run-dir", str(tmp_path)]
        subprocess.run([sys.executable, "-c", CREATE, broker.bootstrap, "charges"], check=True)
        charges = _run_until(command, bootstrap=broker.bootstrap, topic="charges", folder=tmp_path)
    due = sorted((one["customer"], one["price_minor"] * one["quantity"]) for one in PURCHASES)
    assert sorted((one["customer"], one["amount_minor"]) for one in charges) == due


def test_the_purchases_of_the_readme_have_the_same_ids_whenever_they_are_sent_again() -> None:
    with EmbeddedBroker(num_partitions=1) as broker:
        subprocess.run([sys.executable, "-c", CREATE, broker.bootstrap, "purchases"], check=True)
        environment = os.environ | {"TALLYSTICK_BOOTSTRAP": broker.bootstrap}
        for _run in range(2):
            command = [sys.executable, "buy.py"]
            ended = subprocess.run(
                command, cwd=EXAMPLES, env=environment, capture_output=True, text=True, check=False, timeout=60
            )
            assert ended.returncode == 0, ended.stderr
        found = [record.event_id for record in read_topics(broker.bootstrap, ["purchases"])["purchases"]]
    assert sorted(Counter(found).values()) == [2] * 100
    assert ended.stdout.splitlines()[-1] in found


def test_the_traced_application_shows_each_event_and_passes_its_trace_on(tmp_path: Path) -> None:
    with EmbeddedBroker(num_partitions=2) as broker:
        _produce(broker.bootstrap)
        command = [sys.executable, "-m", "tallystick.cli.main", "run", "traced_shop:app", "--run-dir", str(tmp_path)]
        command += ["--bootstrap", broker.bootstrap]
        subprocess.run([sys.executable, "-c", CREATE, broker.bootstrap, "charges"], check=True)
        _run_until(command, bootstrap=broker.bootstrap, topic="charges", folder=tmp_path)
        charges = read_topics(broker.bootstrap, ["charges"])["charges"]
    lines = (tmp_path / "log").read_text().splitlines()
    spans = [json.loads(line) for line in lines if line.startswith('{"name"')]
    processed = {span["context"]["span_id"].removeprefix("0x") for span in spans if span["name"] == "process purchases"}
    assert len(processed) == len(PURCHASES)
    assert {dict(record.headers)["traceparent"].decode().split("-")[2] for record in charges} == processed
    outcomes = {span["attributes"]["tallystick.outcome"] for span in spans if span["name"] == "batch rate"}
    assert outcomes == {"committed"}


def test_the_loop_alone_copies_each_record_once(tmp_path: Path) -> None:
    with EmbeddedBroker(num_partitions=2) as broker:
        _produce(broker.bootstrap)
        subprocess.run([sys.executable, "-c", CREATE, broker.bootstrap, "copied"], check=True)
        command = [sys.executable, "existing_loop.py"]
        copied = _run_until(command, bootstrap=broker.bootstrap, topic="copied", folder=tmp_path)
    assert sorted(copied, key=str) == sorted(PURCHASES, key=str)


@pytest.mark.parametrize(
    "command", [["-m", "uvicorn", "fastapi_app:app", "--port"], ["django_app.py", "runserver", "--noreload"]]
)
def test_a_web_application_publishes_an_order_under_one_id_however_often_it_is_sent(
    tmp_path: Path, command: list[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    with EmbeddedBroker(num_partitions=1) as broker, (tmp_path / "log").open("wb") as log:
        subprocess.run([sys.executable, "-c", CREATE, broker.bootstrap, "orders"], check=True)
        environment = os.environ | {"KAFKA": broker.bootstrap}
        application = [sys.executable, *command, str(port)]
        process = subprocess.Popen(application, cwd=EXAMPLES, env=environment, stdout=log, stderr=log)
        try:
            for _attempt in range(2):
                answer = _put(f"http://127.0.0.1:{port}/orders/7", process, tmp_path / "log")
                assert answer.status_code == 202
        finally:
            process.terminate()  # what was answered is acknowledged by the broker: nothing waits in the process
            process.wait(30)
        orders = read_topics(broker.bootstrap, ["orders"])["orders"]
    assert [json.loads(order.value or b"") for order in orders] == [ORDER, ORDER]
    assert (
        {order.event_id for order in orders} == {answer.json()["event_id"]} == {deterministic_id("order-placed", "7")}
    )


def _put(url: str, server: subprocess.Popen[bytes], log: Path) -> httpx.Response:
    deadline = time.monotonic() + 60
    while True:
        try:
            return httpx.put(url, json=ORDER, timeout=60)
        except httpx.ConnectError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)


def test_the_inbox_alone_lets_an_event_through_once(tmp_path: Path) -> None:
    for _run in range(2):
        command = [sys.executable, str(EXAMPLES / "existing_inbox.py")]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert ended.stdout == "(1, 2933)\n"


def test_the_readme_shows_the_examples_as_they_are() -> None:
    readme = (ROOT / "README.md").read_text()
    for path in (EXAMPLES / name for name in ("shop.py", "buy.py", "existing_loop.py", "existing_inbox.py")):
        assert f"```python\n{path.read_text()}```" in readme, f"README.md does not show {path.name}"


CREATE = """
import sys
from confluent_kafka.admin import AdminClient, NewTopic
admin = AdminClient({"bootstrap.servers": sys.argv[1]})
for future in admin.create_topics([NewTopic(sys.argv[2], 2, 1)]).values():
    future.result(30)
"""
