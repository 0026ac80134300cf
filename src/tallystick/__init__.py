"""Tallystick: money over Kafka that counts exactly once, and proves it."""

__version__ = "0.1.0"
