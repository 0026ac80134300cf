"""Features: announced by ApiVersions, kept by UpdateFeatures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.broker.in_process import ask, opened

from tallystick.broker.features import FEATURES
from tallystick.broker.node import Node
from tallystick.wire import schema


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with opened(tmp_path) as node:
        yield node


def update(node: Node, version: int, **levels: int) -> Any:
    build = schema.request("update_features", version)
    return ask(
        node,
        "update_features",
        version,
        timeout=timedelta(seconds=1),
        feature_updates=tuple(
            build.FeatureUpdateKey(feature=name.replace("_", "."), max_version_level=level, allow_downgrade=True)
            for name, level in levels.items()
        ),
    )


@pytest.mark.parametrize("version", range(5))
def test_features_are_announced_to_who_can_read_them(node: Node, version: int) -> None:
    answer = ask(node, "api_versions", version, client_software_name="t", client_software_version="1")
    if version < 3:
        assert not hasattr(answer, "finalized_features")
        return
    finalised = {row.name: row.max_version_level for row in answer.finalized_features}
    assert finalised == {feature.name: feature.finalized_version for feature in FEATURES}
    supported = {row.name for row in answer.supported_features}
    assert supported == {feature.name for feature in FEATURES if version >= 4 or feature.min_version > 0}


def test_every_finalised_level_is_one_that_is_supported() -> None:
    assert all(feature.min_version <= feature.finalized_version <= feature.max_version for feature in FEATURES)


@pytest.mark.parametrize("version", range(3))
def test_what_is_finalised_may_be_asked_for(node: Node, version: int) -> None:
    answer = update(node, version, transaction_version=2)
    assert answer.error_code.name == "none"
    assert version >= 2 or [row.error_code.name for row in answer.results] == ["none"]


@pytest.mark.parametrize("version", range(3))
@pytest.mark.parametrize("levels", [{"transaction_version": 1}, {"unheard_of": 1}, {"metadata_version": 0}])
def test_any_other_level_is_refused_with_its_name(node: Node, version: int, levels: dict[str, int]) -> None:
    answer = update(node, version, **levels)
    (name,) = (name.replace("_", ".") for name in levels)
    if version >= 2:
        told = [(answer.error_code.name, answer.error_message)]
    else:
        assert answer.error_code.name == "none"
        told = [(row.error_code.name, row.error_message) for row in answer.results]
    assert [(code, name in message) for code, message in told] == [("invalid_update_version", True)]
