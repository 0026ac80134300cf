"""The exactly-once cycle as a table: which step may follow which, and what is left to do.

Owns: phases, events, their transitions, and the assignment epoch (rule 1). Must not know: Kafka's client, time.

::

    IDLE -POLLED-> POLLED -BEGAN-> OPEN -PROCESSED-> PROCESSED -PRODUCED-> PRODUCED -OFFSETS_SENT-> OFFSETS_SENT
    OFFSETS_SENT -END_REQUESTED-> ENDING -COMMITTED-> IDLE
    each open phase -FAILED-> DOOMED -ABORTED-> REWINDING -REWOUND-> IDLE
    each phase with a producer -PRODUCER_LOST-> UNSETTLED -PRODUCER_READY-> REWINDING

A worker starts UNSETTLED: only a fresh producer id settles what its predecessor may have left open (rule 5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from tallystick.errors import IllegalTransition


class Phase(Enum):
    """Where the cycle is."""

    UNSETTLED = "unsettled"
    """The outcome of the last transaction is not known, or the producer is beyond use (rule 15)."""
    REWINDING = "rewinding"
    """Nothing is open; positions have to go back to the committed offsets (rule 8)."""
    IDLE = "idle"
    POLLED = "polled"
    OPEN = "open"
    PROCESSED = "processed"
    PRODUCED = "produced"
    OFFSETS_SENT = "offsets-sent"
    ENDING = "ending"
    """EndTxn is out, and its answer is not in: no event but an answer leads out of here."""
    DOOMED = "doomed"
    """The transaction can only abort."""
    FENCED = "fenced"
    """A newer owner exists; the end (rules 5 and 17)."""
    STOPPED = "stopped"


class Event(Enum):
    """What happened."""

    ASSIGNED = "assigned"
    REVOKING = "revoking"
    """A revocation was asked for and has not been agreed to: the open transaction may still commit."""
    REVOKED = "revoked"
    LOST = "lost"
    POLLED = "polled"
    BEGAN = "began"
    PROCESSED = "processed"
    PRODUCED = "produced"
    OFFSETS_SENT = "offsets-sent"
    END_REQUESTED = "end-requested"
    COMMITTED = "committed"
    FAILED = "failed"
    ABORTED = "aborted"
    REWOUND = "rewound"
    PRODUCER_LOST = "producer-lost"
    PRODUCER_READY = "producer-ready"
    FENCED = "fenced"
    STOPPED = "stopped"


class Action(Enum):
    """What a driver does next."""

    REINITIALISE = "reinitialise"
    REWIND = "rewind"
    POLL = "poll"
    WAIT = "wait"
    """Nothing may begin: no partition is assigned, or a revocation waits for us."""
    BEGIN = "begin"
    PROCESS = "process"
    PRODUCE = "produce"
    SEND_OFFSETS = "send-offsets"
    COMMIT = "commit"
    AWAIT_END = "await-end"
    ABORT = "abort"
    STOP = "stop"


OPEN_PHASES: Final = frozenset({Phase.OPEN, Phase.PROCESSED, Phase.PRODUCED, Phase.OFFSETS_SENT})
"""A transaction is open and may still commit."""

FINAL_PHASES: Final = frozenset({Phase.FENCED, Phase.STOPPED})

STOPPABLE_PHASES: Final = frozenset({Phase.IDLE, Phase.POLLED, Phase.REWINDING, Phase.UNSETTLED})
"""No transaction is open, or a successor settles it."""

_LIVE_PHASES: Final = frozenset(Phase) - FINAL_PHASES

_TABLE: Final[dict[tuple[Phase, Event], Phase]] = {
    (Phase.UNSETTLED, Event.PRODUCER_READY): Phase.REWINDING,
    (Phase.REWINDING, Event.REWOUND): Phase.IDLE,
    (Phase.IDLE, Event.POLLED): Phase.POLLED,
    (Phase.POLLED, Event.BEGAN): Phase.OPEN,
    (Phase.OPEN, Event.PROCESSED): Phase.PROCESSED,
    (Phase.PROCESSED, Event.PRODUCED): Phase.PRODUCED,
    (Phase.PRODUCED, Event.OFFSETS_SENT): Phase.OFFSETS_SENT,
    (Phase.OFFSETS_SENT, Event.END_REQUESTED): Phase.ENDING,
    (Phase.ENDING, Event.COMMITTED): Phase.IDLE,
    (Phase.ENDING, Event.FAILED): Phase.DOOMED,
    (Phase.DOOMED, Event.ABORTED): Phase.REWINDING,
    # A batch that was polled and has no transaction yet is dropped when it cannot begin one.
    (Phase.POLLED, Event.FAILED): Phase.REWINDING,
    **{(phase, Event.FAILED): Phase.DOOMED for phase in OPEN_PHASES},
    **{(phase, Event.PRODUCER_LOST): Phase.UNSETTLED for phase in _LIVE_PHASES},
    **{(phase, Event.FENCED): Phase.FENCED for phase in _LIVE_PHASES},
    # Stopping with a transaction open is not in the table: it commits or aborts first.
    **{(phase, Event.STOPPED): Phase.STOPPED for phase in STOPPABLE_PHASES},
    # Membership. An assignment that changes under an open transaction dooms it: the coordinator fences on member and
    # generation, not on ownership, so nobody else would stop it (rule 1).
    **{(phase, Event.REVOKING): phase for phase in _LIVE_PHASES},
    **{
        (phase, event): Phase.DOOMED if phase in OPEN_PHASES else phase
        for phase in _LIVE_PHASES
        for event in (Event.ASSIGNED, Event.REVOKED, Event.LOST)
    },
    **{(Phase.POLLED, event): Phase.REWINDING for event in (Event.ASSIGNED, Event.REVOKING, Event.REVOKED, Event.LOST)},
}

_ACTIONS: Final = {
    Phase.UNSETTLED: Action.REINITIALISE,
    Phase.REWINDING: Action.REWIND,
    Phase.POLLED: Action.BEGIN,
    Phase.OPEN: Action.PROCESS,
    Phase.PROCESSED: Action.PRODUCE,
    Phase.PRODUCED: Action.SEND_OFFSETS,
    Phase.OFFSETS_SENT: Action.COMMIT,
    Phase.ENDING: Action.AWAIT_END,
    Phase.DOOMED: Action.ABORT,
    Phase.FENCED: Action.STOP,
    Phase.STOPPED: Action.STOP,
}

_MEMBERSHIP_CHANGES: Final = frozenset({Event.ASSIGNED, Event.REVOKED, Event.LOST})


@dataclass(frozen=True, slots=True)
class Cycle:
    """One lane's state.

    ``epoch`` counts changes of the assignment; ``transaction_epoch`` is the one that the open transaction began
    under, None when none is open.
    """

    phase: Phase = Phase.UNSETTLED
    epoch: int = 0
    transaction_epoch: int | None = None
    assigned: bool = False
    draining: bool = False

    @property
    def action(self) -> Action:
        """What is to be done next."""
        if self.phase is Phase.IDLE:
            return Action.POLL if self.assigned and not self.draining else Action.WAIT
        return _ACTIONS[self.phase]

    def after(self, event: Event) -> Cycle:
        """The state that follows; ``IllegalTransition`` if the table has none, or a guard forbids it."""
        phase = _TABLE.get((self.phase, event))
        if phase is None or not self._allows(event):
            raise IllegalTransition("cycle", str(self), event.value)
        changed = event in _MEMBERSHIP_CHANGES
        transaction_epoch = self.transaction_epoch
        if event is Event.BEGAN:
            transaction_epoch = self.epoch
        elif phase not in OPEN_PHASES and phase not in {Phase.ENDING, Phase.DOOMED}:
            transaction_epoch = None
        return replace(
            self,
            phase=phase,
            epoch=self.epoch + 1 if changed else self.epoch,
            transaction_epoch=transaction_epoch,
            assigned=event is Event.ASSIGNED if changed else self.assigned,
            draining=False if changed else self.draining or event is Event.REVOKING,
        )

    def _allows(self, event: Event) -> bool:
        """Guards: nothing new starts without partitions or during a revocation, and epochs must agree to commit."""
        if event is Event.POLLED:
            return self.assigned and not self.draining
        if event is Event.END_REQUESTED:
            return self.assigned and self.transaction_epoch == self.epoch
        return True

    def __str__(self) -> str:
        return f"{self.phase.value} (assignment epoch {self.epoch}, transaction epoch {self.transaction_epoch})"
