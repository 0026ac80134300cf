"""What whoever started a broker and that broker say to each other: about topics and faults.

Owns: commands, what comes back, their encoding as lines of JSON, the bound of a line. Must not know: sockets, how a
command is executed.
"""

from __future__ import annotations

from typing import Final

import msgspec

from tallystick.broker.faults.actions import StandingAction
from tallystick.broker.faults.fault import Fault
from tallystick.broker.faults.injection import Injection
from tallystick.broker.faults.plan import PlanState
from tallystick.errors import TallystickError

MAX_LINE_BYTES: Final = 16 * 1024 * 1024


class MalformedLine(TallystickError):
    """The other end does not say what it should: the channel is of no use any more."""


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Become this plan; the first line of every channel, before the broker listens."""

    state: PlanState


class AddFaults(msgspec.Struct, frozen=True, tag="add"):
    faults: tuple[Fault, ...]


class ClearFaults(msgspec.Struct, frozen=True, tag="clear"):
    """Take all faults away, and undo what they switched on; the monotonic clock stays where it is."""


class Perform(msgspec.Struct, frozen=True, tag="perform"):
    action: StandingAction


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    pass


class Release(msgspec.Struct, frozen=True, tag="release"):
    pass


class CreateTopic(msgspec.Struct, frozen=True, tag="create-topic"):
    """``partitions`` None: as many as the broker gives a topic by default."""

    name: str
    partitions: int | None = None
    configs: dict[str, str] = msgspec.field(default_factory=dict)


class DeleteTopic(msgspec.Struct, frozen=True, tag="delete-topic"):
    """With its committed offsets, as DeleteTopics does."""

    name: str


class FreeDisk(msgspec.Struct, frozen=True, tag="free-disk"):
    pass


class Report(msgspec.Struct, frozen=True, tag="report"):
    """Only answer: whatever was noted before is read then."""


Command = Load | AddFaults | ClearFaults | Perform | Resume | Release | FreeDisk | CreateTopic | DeleteTopic | Report


class Line(msgspec.Struct, frozen=True):
    """A command with a number that its reply has, too."""

    number: int
    command: Command


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    """What the plan is now. ``error`` says why the command was refused."""

    number: int
    state: PlanState
    error: str = ""


class Noted(msgspec.Struct, frozen=True, tag="noted"):
    """A fault strikes; said before it takes effect."""

    injection: Injection


class Dying(msgspec.Struct, frozen=True, tag="dying"):
    """The last line of a broker that kills itself."""

    state: PlanState


Told = Reply | Noted | Dying

_encoder = msgspec.json.Encoder()
_line_decoder = msgspec.json.Decoder(Line)
_told_decoder: msgspec.json.Decoder[Told] = msgspec.json.Decoder(Told)


def encode(message: Line | Told) -> bytes:
    """One line with its end."""
    return _encoder.encode(message) + b"\n"


def decode_line(line: bytes) -> Line:
    """What the parent says."""
    try:
        return _line_decoder.decode(line)
    except msgspec.DecodeError as error:
        raise MalformedLine(f"a control line does not decode: {error}") from error


def decode_told(line: bytes) -> Told:
    """What the child says."""
    try:
        return _told_decoder.decode(line)
    except msgspec.DecodeError as error:
        raise MalformedLine(f"a control line does not decode: {error}") from error


class Lines:
    """Puts lines together from what a socket gives."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The whole lines, without their ends; ``MalformedLine`` for one that is too long."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise MalformedLine(f"a control line of more than {MAX_LINE_BYTES} bytes")
        return lines
