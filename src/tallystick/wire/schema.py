"""kio's dataclasses by name and version, and building one without caring which fields its version has.

Owns: the look-up. Must not know: sockets, what a message means.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from kio.index import load_entity_module
from kio.static.constants import EntityType

from tallystick.errors import TallystickError


class UnknownField(TallystickError):
    """A field that no version of this message has: a slip of the pen, never a matter of versions."""


class Entities:
    """The classes of one message in one version: ``entities.MetadataResponse(...)`` builds one.

    Fields that exist in other versions of the message and not in this one are dropped; a field that no version has
    raises ``UnknownField``. Plain ``int``, ``str`` and ``bytes`` do: kio checks ranges as it encodes.
    """

    def __init__(self, api_name: str, version: int, kind: EntityType) -> None:
        self._module = load_entity_module(api_name, version, kind)  # type: ignore[arg-type]
        self._api_name = api_name
        self._kind = kind

    def __getattr__(self, class_name: str) -> Any:
        entity = getattr(self._module, class_name, None)
        if entity is None:
            raise UnknownField(f"{self._api_name} has no {class_name} in {self._module.__name__}")
        known = frozenset(entity.__dataclass_fields__)
        anywhere = _fields_in_any_version(self._api_name, self._kind, class_name)

        def build(**fields: Any) -> Any:
            if not fields.keys() <= known:
                if not fields.keys() <= anywhere:
                    raise UnknownField(f"{class_name} has no field {sorted(fields.keys() - anywhere)} in any version")
                fields = {name: value for name, value in fields.items() if name in known}
            return entity(**fields)

        setattr(self, class_name, build)
        return build


@cache
def _fields_in_any_version(api_name: str, kind: EntityType, class_name: str) -> frozenset[str]:
    from kio.schema.index import schema_name_map

    names: set[str] = set()
    for version in schema_name_map[api_name]:
        module = load_entity_module(api_name, version, kind)  # type: ignore[arg-type]
        entity = getattr(module, class_name, None)
        if entity is not None:
            names |= set(entity.__dataclass_fields__)
    return frozenset(names)


@cache
def response(api_name: str, version: int) -> Entities:
    """Builders for the response of ``kio.schema.<api_name>.v<version>``."""
    return Entities(api_name, version, EntityType.response)


@cache
def request(api_name: str, version: int) -> Entities:
    """Builders for the request of ``kio.schema.<api_name>.v<version>``."""
    return Entities(api_name, version, EntityType.request)
