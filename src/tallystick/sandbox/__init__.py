"""A payment provider to run against: a real server with Stripe v1's idempotency semantics, and faults on request."""

from tallystick.sandbox.process import SandboxProcess

__all__ = ["SandboxProcess"]
