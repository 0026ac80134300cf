"""The billing application, for ``tallystick run tallystick.billing.service:app``.

Owns: the module-level ``app``. Must not know: how it is run. Importing this module without a database in the
environment raises ``ConfigurationError``.
"""

from __future__ import annotations

from tallystick.billing.app import build_app
from tallystick.billing.environment import database_url

app = build_app(database_url())
