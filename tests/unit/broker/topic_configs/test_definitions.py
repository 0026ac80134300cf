"""Values of topic configurations: the types, the bounds and the words are Apache Kafka's."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tallystick.broker.topic_configs import DEFINITIONS, TopicConfig, definition_of, resolve
from tallystick.wire.errors import ApiError, ErrorCode


@pytest.mark.parametrize("name", sorted(DEFINITIONS))
def test_a_default_is_a_legal_value_in_its_normal_form(name: str) -> None:
    definition = DEFINITIONS[name]
    assert definition.normal(definition.default) == definition.default


def test_the_typed_defaults_are_those_of_the_table() -> None:
    assert resolve({}, {}) == TopicConfig()


def test_the_typed_fields_are_named_after_configurations() -> None:
    assert {field.name.replace("_", ".") for field in fields(TopicConfig)} <= DEFINITIONS.keys()


@pytest.mark.parametrize(
    ("name", "text", "normal"),
    [
        ("retention.ms", " +5 ", "5"),
        ("cleanup.policy", "delete, compact", "delete,compact"),
        ("cleanup.policy", "compact,compact", "compact"),
        ("cleanup.policy", "", ""),
        ("preallocate", "TRUE", "true"),
        ("min.cleanable.dirty.ratio", ".5f", "0.5"),
        ("min.cleanable.dirty.ratio", "1e-1", "0.1"),
        ("min.cleanable.dirty.ratio", "NaN", "NaN"),
        ("leader.replication.throttled.replicas", "0:1,1:1", "0:1,1:1"),
    ],
)
def test_a_value_is_kept_in_its_normal_form(name: str, text: str, normal: str) -> None:
    assert definition_of(name).normal(text) == normal


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("segment.bytes", "1048575", "Value must be at least 1048576"),
        ("segment.bytes", "99999999999", "Not a number of type INT"),
        ("segment.ms", "9223372036854775808", "Not a number of type LONG"),
        ("retention.ms", "1_0", "Not a number of type LONG"),
        ("retention.ms", "٣", "Not a number of type LONG"),
        ("min.cleanable.dirty.ratio", "1.1", "Value must be no more than 1"),
        ("min.cleanable.dirty.ratio", "x", "Not a number of type DOUBLE"),
        ("compression.gzip.level", "0", "Value must be between 1 and 9 or equal to -1"),
        ("cleanup.policy", "never", "String must be one of: compact, delete"),
        ("cleanup.policy", "compact,", "values must not be empty"),
        ("unclean.leader.election.enable", "yes", "Expected value to be either true or false"),
        ("remote.storage.enable", "true", "Tiered Storage functionality is disabled"),
        ("leader.replication.throttled.replicas", "x", "must be the literal"),
    ],
)
def test_a_wrong_value_is_refused_with_the_reason(name: str, text: str, reason: str) -> None:
    with pytest.raises(ApiError, match=reason) as refused:
        definition_of(name).normal(text)
    assert refused.value.code is ErrorCode.invalid_config
    assert f"Invalid value {text} for configuration {name}" in refused.value.message


def test_an_unknown_name_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ApiError, match=r"Unknown topic config name: retenton.ms; did you mean retention.ms\?"):
        definition_of("retenton.ms")
    with pytest.raises(ApiError, match=r"Unknown topic config name: zzz$"):
        definition_of("zzz")
