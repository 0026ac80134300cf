"""Which environment variable says where billing's database is.

Owns: that variable. Must not know: what is in the database.
"""

from __future__ import annotations

import os
from typing import Final

from tallystick.errors import ConfigurationError

ENV_DATABASE: Final = "TALLYSTICK_DATABASE"
"""SQLAlchemy URL of the database. An environment variable, since a URL may hold a password and arguments show in ps."""


def database_url() -> str:
    """The URL from the environment; ``ConfigurationError`` if there is none."""
    url = os.environ.get(ENV_DATABASE)
    if not url:
        raise ConfigurationError(
            f"{ENV_DATABASE} is not set", remedy=f"Set it, for example {ENV_DATABASE}=sqlite:///billing.sqlite3"
        )
    return url
