"""A data folder, looked at without changing it: everything in it verified, and everything compared with everything."""

from tallystick.broker.inspection.check import check_folder
from tallystick.broker.inspection.findings import Finding, Report, Severity

__all__ = ["Finding", "Report", "Severity", "check_folder"]
