"""Executes commands, in the broker's loop.

Owns: which command does what, the check of what only the broker can check. Must not know: where a command comes from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from tallystick.broker.control.messages import (
    AddFaults,
    ClearFaults,
    Command,
    CreateTopic,
    DeleteTopic,
    FreeDisk,
    Load,
    Perform,
    Release,
    Report,
    Resume,
)
from tallystick.broker.faults.actions import AnswerError
from tallystick.broker.faults.fault import Fault
from tallystick.broker.faults.injector import Injector, error_code
from tallystick.broker.node import Node
from tallystick.errors import ConfigurationError
from tallystick.wire.errors import ApiError, ErrorCode


def execute(command: Command, injector: Injector) -> None:
    """Do it; ``ConfigurationError`` if the command is refused, and then nothing has changed."""
    match command:
        case Load(state):
            check(row.fault for row in state.faults)
            injector.plan.restore(state)
        case AddFaults(faults):
            check(faults)
            injector.plan.add(*faults)
        case ClearFaults():
            injector.plan.clear()
            injector.clock.set_right()
            injector.free_disk()
            injector.release()
            injector.resume()
        case Perform(action):
            injector.perform(action)
        case Resume():
            injector.resume()
        case Release():
            injector.release()
        case FreeDisk():
            injector.free_disk()
        case CreateTopic(name, partitions, configs):
            with _refused():
                _node(injector).partitions.create(name, partition_count=partitions, configs=configs)
        case DeleteTopic(name):
            with _refused():
                _delete(_node(injector), name)
        case Report():
            pass


def _node(injector: Injector) -> Node:
    if injector.node is None:
        raise ConfigurationError("the broker is not ready")
    return injector.node


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        raise ConfigurationError(str(error)) from None


def _delete(node: Node, name: str) -> None:
    topic = node.partitions.by_name(name)
    if topic is None:
        raise ApiError(ErrorCode.unknown_topic_or_partition, f"there is no topic {name!r}")
    node.delete_topic(topic)


def check(faults: Iterable[Fault]) -> None:
    """Refuse an error that Kafka does not have."""
    for fault in faults:
        if isinstance(fault.action, AnswerError):
            try:
                error_code(fault.action.error)
            except KeyError:
                near = get_close_matches(fault.action.error.lower(), ErrorCode.__members__, n=1)
                remedy = f"Did you mean {near[0].upper()}?" if near else None
                raise ConfigurationError(f"there is no error {fault.action.error!r}", remedy=remedy) from None
