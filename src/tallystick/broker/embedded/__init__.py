"""Brokers of one's own, for tests, examples and small installations: a child process, or a thread of this one."""

from tallystick.broker.embedded.child import EmbeddedBroker
from tallystick.broker.embedded.in_process import InProcessBroker
from tallystick.broker.embedded.local_broker import BrokerDidNotStart, LocalBroker

__all__ = ["BrokerDidNotStart", "EmbeddedBroker", "InProcessBroker", "LocalBroker"]
