"""The places in the cycle at which a test can kill the process; the names are part of the tests' contract.

Owns: the names. Must not know: who stands at them. Every strategy passes those that it has.
"""

from __future__ import annotations

from typing import Final

from tallystick.killpoints import declare

AFTER_POLL: Final = declare("cycle.after-poll", "records are in memory, nothing has begun")
AFTER_BEGIN: Final = declare("cycle.after-begin", "the transaction is open at the client, unknown to the broker")
AFTER_PROCESS: Final = declare("cycle.after-process", "the step ran; its outputs are in memory")
AFTER_PRODUCE: Final = declare("cycle.after-produce", "outputs are handed to the client, perhaps in the log")
BEFORE_OFFSETS: Final = declare("cycle.before-offsets", "outputs are produced, offsets are not part of the transaction")
AFTER_OFFSETS: Final = declare("cycle.after-offsets", "offsets are part of the transaction")
BEFORE_COMMIT: Final = declare("cycle.before-commit", "all is handed to the client, the end is not asked for")
AFTER_COMMIT: Final = declare("cycle.after-commit", "committed, and the worker does not know anything after it")
