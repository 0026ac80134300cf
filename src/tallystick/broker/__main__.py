"""``python -m tallystick.broker``."""

import gc
import sys
from types import ModuleType

if __name__ == "__main__":
    # kio imports Hypothesis if it finds it, for the hooks of its own tests, and structlog imports Rich, for consoles:
    # half a second of every start of a child in a test environment, for nothing.
    for name in ("hypothesis", "rich"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    # crc32c asks for its own version, and what answers that imports what reads mail and archives.
    no_metadata = ModuleType("importlib.metadata")
    no_metadata.version = lambda _: ""  # type: ignore[attr-defined]
    sys.modules["importlib.metadata"] = no_metadata
    import crc32c  # noqa: F401

    del sys.modules["importlib.metadata"]
    # A start is imports: no garbage arises, and to look for it takes a sixth of the time. ``main`` turns it on again.
    gc.disable()

    from tallystick.broker.main import main

    sys.exit(main())
