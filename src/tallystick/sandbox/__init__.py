"""A payment provider to run against: a real server in Stripe's and Adyen's shapes, with faults on request."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tallystick.sandbox.in_process import InProcessSandbox
    from tallystick.sandbox.process import SandboxProcess

__all__ = ["InProcessSandbox", "SandboxProcess"]

_WHERE = {"InProcessSandbox": "in_process", "SandboxProcess": "process"}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
