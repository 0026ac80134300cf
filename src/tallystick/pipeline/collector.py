"""Python's garbage collector in a worker: it runs between batches, and not in the middle of them.

Owns: ``calm_collector``. Must not know: what a batch is made of.

A batch makes some objects for each record that the collector watches, and at its end all of them are gone without it.
With its usual threshold of 700 it runs a hundred times in a batch of 20,000 records, looks at what is in use, and finds
nothing to free: a fifth of the processor time. With a threshold that a batch does not reach it runs when something is
left over.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_AT_FIRST: Final = gc.get_threshold()
_OBJECTS_FOR_EACH: Final = 10
_LEAST: Final = 20_000


@contextmanager
def calm_collector(records: int) -> Iterator[None]:
    """Let the collector wait until ten objects for each of ``records`` are new: those of all batches at work.

    What is there already is never looked at again. Cycles that user code leaves behind take memory for longer, up to
    that many objects. A threshold that somebody has changed stays as it is.
    """
    before = gc.get_threshold()
    if before != _AT_FIRST or before[0] == 0:
        yield
        return
    gc.freeze()
    gc.set_threshold(max(_LEAST, _OBJECTS_FOR_EACH * records), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
