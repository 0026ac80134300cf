"""A child server: what its errors say, and that nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tallystick.errors import ConfigurationError
from tallystick.servers.process import ChildServer, ServerFailed, free_port, free_ports, log_tail


def child(folder: Path, code: str) -> ChildServer:
    return ChildServer("Example", [sys.executable, "-c", code], log=folder / "log", cwd=folder)


def test_an_early_end_is_reported_with_status_and_last_log_lines(tmp_path: Path) -> None:
    server = child(tmp_path, "print('disk is on fire'); raise SystemExit(3)")
    server.start()
    with pytest.raises(ServerFailed, match=r"(?s)Example ended with status 3 .*disk is on fire"):
        server.wait_until(lambda: False, timeout_s=30)


def test_a_server_that_never_gets_ready_is_killed_and_reported(tmp_path: Path) -> None:
    server = child(tmp_path, "import time; time.sleep(60)")
    server.start()
    with pytest.raises(ServerFailed, match="not ready within 0 s"):
        server.wait_until(lambda: False, timeout_s=0.2)
    assert not server.is_running


def test_a_killed_server_is_gone_when_kill_returns(tmp_path: Path) -> None:
    server = child(tmp_path, "import time; time.sleep(60)")
    server.start()
    pid = server.pid
    server.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_ends_with_its_caller_even_if_that_is_killed(tmp_path: Path) -> None:
    program = f"""
import sys, time
from pathlib import Path
from tallystick.servers.process import ChildServer
folder = Path({str(tmp_path)!r})
server = ChildServer("Example", [sys.executable, "-c", "import time; time.sleep(60)"], log=folder / "log", cwd=folder)
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        os.kill(pid, 0)
        caller.kill()
    deadline = time.monotonic() + 20
    while _runs(pid):
        assert time.monotonic() < deadline, f"process {pid} outlived its caller"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # a container's first process may never collect it


def test_a_second_start_is_refused(tmp_path: Path) -> None:
    server = child(tmp_path, "import time; time.sleep(60)")
    server.start()
    try:
        with pytest.raises(ConfigurationError, match="running already"):
            server.start()
    finally:
        server.kill()


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert "no log" in log_tail(log)
    log.write_text("\n".join(str(number) for number in range(100)))
    assert log_tail(log, lines=2) == "98\n99"


def test_a_free_port_is_a_port() -> None:
    assert 1024 <= free_port() <= 65535


def test_free_ports_are_all_different() -> None:
    assert len(set(free_ports(200))) == 200
