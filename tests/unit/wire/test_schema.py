"""The outline of a message, read off its source, is what the message is."""

from __future__ import annotations

import dataclasses

import pytest
from kio.index import load_entity_module
from kio.schema.index import api_key_map, schema_name_map
from kio.static.constants import EntityType

from tallystick.wire import schema


@pytest.mark.parametrize("kind", [EntityType.request, EntityType.response], ids=lambda kind: kind.name)
@pytest.mark.parametrize("api", sorted(set(api_key_map.values())))
def test_the_outline_of_every_message_has_its_classes_and_their_fields(api: str, kind: EntityType) -> None:
    version = max(schema_name_map[api])
    module = load_entity_module(api, version, kind)  # type: ignore[arg-type]
    expected = {
        name: frozenset(field.name for field in dataclasses.fields(value))
        for name, value in vars(module).items()
        if dataclasses.is_dataclass(value) and value.__module__ == module.__name__
    }
    assert schema.outline(api, version, kind) == expected
