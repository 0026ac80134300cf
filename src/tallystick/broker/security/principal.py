"""The name that a connection acts under.

Owns: the type and its text form ``User:alice``. Must not know: how a name is proved.
"""

from __future__ import annotations

from typing import Final, NamedTuple

USER: Final = "User"


class Principal(NamedTuple):
    """A type, which is always ``User`` here, and a name."""

    type: str
    name: str

    def __str__(self) -> str:
        return f"{self.type}:{self.name}"


def user(name: str) -> Principal:
    return Principal(USER, name)


def parse_principal(text: str) -> Principal | None:
    """The principal of ``User:alice``; None if the text is none. The name may hold colons."""
    kind, colon, name = text.partition(":")
    if not colon or not kind or not name:
        return None
    return Principal(kind, name)


ANONYMOUS: Final = user("ANONYMOUS")
"""Who comes in over a listener that asks for no name, as Apache Kafka calls it."""
