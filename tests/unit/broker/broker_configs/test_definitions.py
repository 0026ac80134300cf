"""The table of broker configurations: complete, and each treated in one way with a reason."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tallystick.broker.broker_configs.definitions import DEFINITIONS, HOLDERS, READ_APART, Treatment
from tallystick.broker.broker_configs.effects import only
from tallystick.broker.broker_configs.listing import listed

WITHOUT_A_NAME_IN_KAFKA = {"users.file", "tls.cert", "tls.key", "tls.client.ca"}


def test_every_public_configuration_of_kafka_4_3_is_known() -> None:
    assert len([row for row in DEFINITIONS.values() if not row.is_internal]) == 343 + 2  # two are the authorizer's


def test_every_field_of_a_settings_class_is_a_configuration_with_a_meaning() -> None:
    names = {field.name.replace("_", ".") for holder in HOLDERS for field in fields(holder)} | set(READ_APART)
    for name in names - WITHOUT_A_NAME_IN_KAFKA:
        assert DEFINITIONS[name].treatment is Treatment.HONOURED, name
        assert DEFINITIONS[name].text, name


def test_every_configuration_says_what_it_means_or_why_it_has_no_effect() -> None:
    assert all(row.text for row in DEFINITIONS.values())


def test_every_default_is_a_value_that_the_configuration_takes() -> None:
    for row in DEFINITIONS.values():
        taken = only(row.name)
        if row.default and taken is None:
            row.parse(row.default)
        if row.default and taken is not None:
            assert row.default in taken.values


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("num.partitions", "0", "at least 1"),
        ("num.partitions", "many", "Not a number of type INT"),
        ("log.cleaner.min.cleanable.ratio", "2", "no more than 1"),
        ("compression.gzip.level", "0", "between 1 and 9 or equal to -1"),
        ("process.roles", "zookeeper", "must be one of: broker, controller"),
        ("delete.topic.enable", "yes", "true or false"),
        ("group.consumer.migration.policy", "sideways", "must be one of"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_kafkas_reason(name: str, value: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        DEFINITIONS[name].parse(value)


def test_the_case_of_a_word_matters_only_where_it_does_in_kafka() -> None:
    assert DEFINITIONS["group.consumer.migration.policy"].parse("Upgrade") == "Upgrade"


def test_the_list_has_a_line_for_each_with_five_columns() -> None:
    lines = list(listed())
    assert len(lines) == len(DEFINITIONS) + 1
    assert all(line.count("\t") == 4 for line in lines)
    assert "num.partitions\tint\t4\thonoured\tPartitions of a topic that is made without a number." in lines
