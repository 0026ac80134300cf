"""The three guarantees, by name. What each one does is a strategy of its own (``at_most_once`` and its siblings)."""

from __future__ import annotations

from enum import Enum


class Guarantee(Enum):
    """How often an input counts when processes die. The value is the word used on the command line and in logs."""

    AT_MOST_ONCE = "at-most-once"
    """The offset is committed first, then the record is processed. May lose, never repeats."""

    AT_LEAST_ONCE = "at-least-once"
    """The record is processed first, then its offset is committed. May repeat, never loses."""

    EXACTLY_ONCE = "exactly-once"
    """Outputs and offsets are one Kafka transaction. Holds from Kafka to readers that read committed records."""
