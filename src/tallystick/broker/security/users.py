"""Users of PLAIN that are given at start: a users file, or Java's form of the same in ``sasl.jaas.config``.

Owns: reading both. Must not know: what the names are for. Nothing of the content ever stands in an error or a log.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Final

import structlog

from tallystick.broker.security.settings import SaslSettings
from tallystick.errors import ConfigurationError

logger = structlog.get_logger(__name__)

_JAAS_OPTION: Final = re.compile(r'\b(?P<name>[\w.\-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s;"]+))')
_JAAS_USER: Final = "user_"


def given_users(settings: SaslSettings) -> dict[str, str]:
    """Passwords by name."""
    users = {} if settings.sasl_jaas_config is None else _from_jaas(settings.sasl_jaas_config)
    if settings.users_file is not None:
        users |= _from_file(settings.users_file)
    return users


def _from_jaas(text: str) -> dict[str, str]:
    users = {}
    for option in _JAAS_OPTION.finditer(text):
        if option["name"].startswith(_JAAS_USER):
            value = option["bare"] if option["quoted"] is None else re.sub(r"\\(.)", r"\1", option["quoted"])
            users[option["name"].removeprefix(_JAAS_USER)] = value
    return users


def _from_file(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the users file {path} cannot be read: {error.__class__.__name__}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        logger.warning("other users of this machine may read the users file; chmod 600 it", file=str(path))
    users: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, password = line.partition(":")
        if not colon or not name.strip() or not password:
            raise ConfigurationError(f"{path}, line {number} is not name:password")
        if name.strip() in users:
            raise ConfigurationError(f"{path}, line {number} names a user that an earlier line has")
        users[name.strip()] = password
    return users
