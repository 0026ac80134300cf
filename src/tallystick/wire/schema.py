"""kio's dataclasses by name and version, and building one without caring which fields its version has.

Owns: the look-up. Must not know: sockets, what a message means.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import kio.schema
from kio.index import load_entity_module
from kio.schema.index import schema_name_map
from kio.static.constants import EntityType

from tallystick.errors import TallystickError

_CLASS: Final = re.compile(r"^class ", flags=re.MULTILINE)
_FIELD: Final = re.compile(r"^    (\w+): (?!ClassVar)", flags=re.MULTILINE)


class UnknownField(TallystickError):
    """A field that no version of this message has: a slip of the pen, never a matter of versions."""


class Entities:
    """The classes of one message in one version: ``entities.MetadataResponse(...)`` builds one.

    Fields, and whole nested classes, that exist in other versions of the message and not in this one are dropped. A
    field that no version has
    raises ``UnknownField``. Plain ``int``, ``str`` and ``bytes`` do: kio checks ranges as it encodes.
    """

    def __init__(self, api_name: str, version: int, kind: EntityType) -> None:
        self._module = load_entity_module(api_name, version, kind)  # type: ignore[arg-type]
        self._api_name = api_name
        self._kind = kind

    def __getattr__(self, class_name: str) -> Any:
        entity = getattr(self._module, class_name, None)
        if entity is None:
            if class_name.startswith("__") or not _fields_in_any_version(self._api_name, self._kind, class_name):
                raise AttributeError(f"{self._api_name} has no {class_name} in any version")
            return _nothing
        known = frozenset(entity.__dataclass_fields__)
        newest = _fields_of_newest(self._api_name, self._kind, class_name)

        def build(**fields: Any) -> Any:
            if not fields.keys() <= known:
                unknown = fields.keys() - known - newest
                if unknown and not unknown <= _fields_in_any_version(self._api_name, self._kind, class_name):
                    raise UnknownField(f"{class_name} has no field {sorted(unknown)} in any version")
                fields = {name: value for name, value in fields.items() if name in known}
            return entity(**fields)

        setattr(self, class_name, build)
        return build


def _nothing(**_: Any) -> None:
    """In place of a nested class that this version does not have: the field that would hold it is dropped."""


@cache
def _fields_of_newest(api_name: str, kind: EntityType, class_name: str) -> frozenset[str]:
    return _fields(api_name, max(schema_name_map[api_name]), kind, class_name)


@cache
def _fields_in_any_version(api_name: str, kind: EntityType, class_name: str) -> frozenset[str]:
    """Of all versions: only the doubtful come here."""
    return frozenset().union(*(_fields(api_name, version, kind, class_name) for version in schema_name_map[api_name]))


def _fields(api_name: str, version: int, kind: EntityType, class_name: str) -> frozenset[str]:
    return outline(api_name, version, kind).get(class_name, frozenset())


@cache
def outline(api_name: str, version: int, kind: EntityType) -> dict[str, frozenset[str]]:
    """The fields of each class of a message. Read off its source: to import it takes up to ten milliseconds, which the
    first client of a broker would wait for, and few need the newest version otherwise."""
    source = Path(kio.schema.__path__[0], api_name, f"v{version}", f"{kind.name}.py")
    try:
        text = source.read_text(encoding="utf-8")
    except OSError:
        module = load_entity_module(api_name, version, kind)  # type: ignore[arg-type]
        classes = (value for value in vars(module).values() if hasattr(value, "__dataclass_fields__"))
        return {entity.__name__: frozenset(entity.__dataclass_fields__) for entity in classes}
    return {
        name: frozenset(_FIELD.findall(body)) for name, body in (part.split(":", 1) for part in _CLASS.split(text)[1:])
    }


@cache
def response(api_name: str, version: int) -> Entities:
    """Builders for the response of ``kio.schema.<api_name>.v<version>``."""
    return Entities(api_name, version, EntityType.response)


@cache
def request(api_name: str, version: int) -> Entities:
    """Builders for the request of ``kio.schema.<api_name>.v<version>``."""
    return Entities(api_name, version, EntityType.request)
