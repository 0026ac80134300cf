"""A Django program that uses ``inbox.once`` on its own database: ``python -m tests.support.django_once URL``."""

from __future__ import annotations

import sys

from django.conf import settings  # type: ignore[import-untyped]
from sqlalchemy import make_url

database: dict[str, object]
url = make_url(sys.argv[1])
if url.get_backend_name() == "sqlite":
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": url.database}
else:
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.database,
        "USER": url.username,
        "PASSWORD": url.password,
        "HOST": url.host,
        "PORT": url.port,
    }
settings.configure(DATABASES={"default": database})

from django.db import connection, transaction  # type: ignore[import-untyped]  # noqa: E402  needs settings

from tallystick.boundary import inbox  # noqa: E402
from tallystick.errors import ConfigurationError  # noqa: E402

answers: list[object] = []
with transaction.atomic():
    answers.append(inbox.once(connection, "e-1", b"body"))
with transaction.atomic():
    answers.append(inbox.once(connection, "e-1", b"body"))
for _ in range(2):
    with transaction.atomic():
        answers.append(inbox.once(connection, "e-2"))
        transaction.set_rollback(True)
try:
    inbox.once(connection, "e-3")
except ConfigurationError as error:
    answers.append(error.remedy)
connection.close()
print(answers)
