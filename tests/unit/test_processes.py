"""A child ends by the signal it is sent, or by SIGKILL when it does not listen; a dead one is no trouble."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tallystick.processes import end_process

LISTENS = "import time; print(1, flush=True); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"


@pytest.mark.parametrize(("program", "ended_by"), [(LISTENS, signal.SIGTERM), (DEAF, signal.SIGKILL)])
def test_a_child_ends_by_the_signal_or_by_sigkill(program: str, ended_by: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it stands where the program says
        end_process(process, signal.SIGTERM, timeout_s=30.0 if ended_by is signal.SIGTERM else 0.2)
        assert process.returncode == -ended_by


def test_a_child_that_has_ended_keeps_its_code() -> None:
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as process:
        process.wait(30)
        end_process(process, signal.SIGTERM, timeout_s=1.0)
        assert process.returncode == 3
