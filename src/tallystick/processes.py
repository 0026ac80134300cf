"""The end of a child process.

Owns: signal, wait, and SIGKILL when the wait is too long. Must not know: what the child does.
"""

from __future__ import annotations

import signal
import subprocess


def end_process(process: subprocess.Popen[bytes], number: signal.Signals, *, timeout_s: float) -> None:
    """Send ``number`` and wait for the end; SIGKILL after ``timeout_s``. One that has ended already is only reaped."""
    process.send_signal(number)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
