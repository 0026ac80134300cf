"""A decorated function as a processor.

Owns: decoding, calling the function for each record, its tries, and the derived ids of its outputs. Must not know:
transactions. A function sees one record at a time, so it is tried again on the spot: a record that fails leaves
nothing behind, because its outputs are kept only when it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from tallystick.errors import TallystickError
from tallystick.pipeline.context import Context, Emit
from tallystick.pipeline.policy import ErrorPolicy
from tallystick.pipeline.ports import Poisoned
from tallystick.pipeline.records import Output, Record
from tallystick.pipeline.state import LaneState
from tallystick.pipeline.topics import DecodeError, Topic

Emits = Emit | Iterable[Emit] | None


class _PerRecord:
    """Runs a call for each record, with the policy's tries; subclasses say what the call is."""

    takes_one_by_one: ClassVar = True  # it may be called with single records, so that each has a span around it

    def __init__(self, step: str, on_error: ErrorPolicy, state: LaneState | None = None) -> None:
        self._step = step
        self._tries = on_error.tries
        self._state = state

    def process(self, records: Sequence[Record]) -> Sequence[Sequence[Output] | Poisoned]:
        """Outputs of each record, or the verdict that it is poisoned."""
        return [self._one(record) for record in records]

    def close(self) -> None:
        """A function holds nothing."""

    def _call(self, record: Record, context: Context) -> Emits:
        raise NotImplementedError

    def _one(self, record: Record) -> Sequence[Output] | Poisoned:
        state = self._state
        if state is None:
            return self._tried(record, Context(record, self._step))
        context = Context(record, self._step, state.begin(record))
        result = self._tried(record, context)
        if isinstance(result, Poisoned):
            state.undo()
        else:
            state.keep()
        return result

    def _tried(self, record: Record, context: Context) -> Sequence[Output] | Poisoned:
        tries = 0
        while True:
            tries += 1
            try:
                return self._outputs(self._call(record, context), context)
            except DecodeError as error:
                return Poisoned(record, error, tries)
            except TallystickError:
                raise  # ours say what the caller does: the cycle decides
            except Exception as error:  # noqa: BLE001  # user code: any failure is the record's, and bounded
                if tries >= self._tries:
                    return Poisoned(record, error, tries)
                if self._state is not None:
                    self._state.undo()
                    self._state.begin(record)

    def _outputs(self, returned: Emits, context: Context) -> list[Output]:
        if returned is None:
            return []
        emits = [returned] if isinstance(returned, Emit) else returned
        outputs = []
        for ordinal, one in enumerate(emits):
            if not isinstance(one, Emit):
                raise TypeError(f"step {self._step!r} yields emit(...), not {type(one).__name__}")
            event_id = one.event_id or context.derived_id(ordinal)
            outputs.append(Output(one.topic, one.key, one.value, event_id, one.headers, one.partition))
        return outputs


class FunctionProcessor(_PerRecord):
    """Decodes each record by its topic's type and calls a step's function."""

    def __init__(
        self,
        step: str,
        source: Topic[Any],
        function: Callable[[Any, Context], Emits],
        on_error: ErrorPolicy,
        state: LaneState | None = None,
    ) -> None:
        super().__init__(step, on_error, state)
        self._source = source
        self._function = function

    def _call(self, record: Record, context: Context) -> Emits:
        return self._function(self._source.decode(record.value), context)


class RecordFunction(_PerRecord):
    """Calls a function with each record as it is."""

    def __init__(self, step: str, function: Callable[[Record], Emits], on_error: ErrorPolicy) -> None:
        super().__init__(step, on_error)
        self._function = function

    def _call(self, record: Record, context: Context) -> Emits:  # noqa: ARG002
        return self._function(record)
