"""Python objects by name, ``module:attribute``, as commands take them.

Owns: the look-up, and what is said when there is none. Must not know: what is named.
"""

from __future__ import annotations

import importlib
from typing import Any

from tallystick.errors import ConfigurationError


def load_attribute(reference: str, *, example: str) -> Any:
    """What ``module:attribute`` names. ``ConfigurationError`` says what is missing; ``example`` shows a good one.

    A module that the named one imports and that is missing is an error of its own, and raised as it is.
    """
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise ConfigurationError(f"{reference!r} is not module:attribute", remedy=f"For example: {example}")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        if error.name != module_name and not module_name.startswith(f"{error.name}."):
            raise
        raise ConfigurationError(
            f"there is no module {module_name!r}", remedy="Run in its folder, or set PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise ConfigurationError(f"module {module_name!r} has no {attribute!r}") from error
