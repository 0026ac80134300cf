"""An application under test: fed by hand, run until it is idle, on a real broker in this process.

Owns: the driver. Must not know: pytest (``tallystick.testing.plugin`` has the fixture), how a transaction goes.
"""

from __future__ import annotations

from tallystick.testing.app_driver.clock import DriverClock
from tallystick.testing.app_driver.driver import AppTestDriver, NotIdle
from tallystick.testing.app_driver.loop_run import Crashed

__all__ = ["AppTestDriver", "Crashed", "DriverClock", "NotIdle"]
